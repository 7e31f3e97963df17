//! Numbers, as statements give them. Right answers are those of PostgreSQL 15 unless a case says
//! otherwise.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use lake::{Lake, StoreOptions, Stores};
use url::Url;

use crate::runtime::{Runtime, RuntimeOptions};
use crate::session::{Session, plan_messages, rows_context};
use crate::sql;

/// A session over a lake without tables.
fn session() -> Session {
    let url = Url::parse("file:///nonexistent/lake").expect("a url");
    let lake = Lake::new(
        &url,
        Stores::new(StoreOptions {
            user: "hadoop".to_owned(),
            limit: std::time::Duration::from_secs(5),
        }),
    )
    .expect("a lake");
    over(&lake)
}

fn over(lake: &Arc<Lake>) -> Session {
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    Session::new(lake, chrono_tz::UTC, &runtime).expect("a session")
}

/// The rows of `text`, columns joined by `|`, or its failure.
async fn answer(session: &Session, text: &str) -> Result<Vec<String>, String> {
    let statement = sql::parse_one(text, "test").map_err(|error| error.to_string())?;
    let frame = session.query(&statement).await;
    rows(frame.map_err(|error| chain(&error))?).await
}

async fn rows(frame: DataFrame) -> Result<Vec<String>, String> {
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    let options = FormatOptions::default().with_null("null");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("a format"))
            .collect();
        for row in 0..batch.num_rows() {
            let values: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(values.join("|"));
        }
    }
    Ok(rows)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Asks each statement as it stands, with renamed columns in a CTE, in a subquery, and as a UNION's
/// second part.
async fn check(cases: &[(&str, Result<&[&str], &str>)]) {
    let session = session();
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        for form in [
            (*text).to_owned(),
            format!("WITH renamed AS ({text}) SELECT * FROM renamed"),
            format!("SELECT * FROM (SELECT * FROM ({text}) AS a) AS b"),
        ] {
            let found = answer(&session, &form).await;
            let right = match (&found, expected) {
                (Ok(found), Ok(expected)) if form == *text => found == expected,
                // The order of a subquery is not that of what reads it.
                (Ok(found), Ok(expected)) => {
                    let (mut found, mut expected) = (found.clone(), expected.to_vec());
                    found.sort_unstable();
                    expected.sort_unstable();
                    found == expected
                }
                (Err(found), Err(expected)) => {
                    let found = found.to_lowercase();
                    expected.split('|').any(|word| found.contains(word))
                }
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
            };
            if !right {
                wrong.push(format!(
                    "{form}\n  expected {expected:?}\n  found    {found:?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

const LEFT_ITS_TYPE: &str = "overflow|out of range|precision|too large";

#[tokio::test]
async fn literals_take_the_type_of_their_partner() {
    check(&[
        ("SELECT arrow_typeof(1.5)", Ok(&["Decimal128(2, 1)"])),
        ("SELECT arrow_typeof(1e3), arrow_typeof(1.5e-3), 1e3, -1.5e-3, 1E+2", Ok(&["Float64|Float64|1000.0|-0.0015|100.0"])),
        ("SELECT arrow_typeof(3.14159265358979323846264338327950288419716939937510)", Ok(&["Float64"])),
        ("SELECT 0.1 + 0.2 = 0.3, 0.1 + 0.2", Ok(&["true|0.3"])),
        ("SELECT 0.1e0 + 0.2e0 = 0.3e0", Ok(&["false"])),
        ("SELECT m = 35731.20, m IN (35731.20, 1.0), m BETWEEN 35731.20 AND 35731.20, m <> 35731.20, m >= 35731.20, m > 35731.195 FROM (VALUES (CAST('35731.20' AS DECIMAL(15, 2)))) AS t(m)",
         Ok(&["true|true|true|false|true|true"])),
        ("SELECT count(*) FROM (VALUES (CAST('99999999.99' AS DECIMAL(15, 2)))) AS t(m) WHERE m = 99999999.99", Ok(&["1"])),
        ("SELECT m = 1234567890123456789012345678.01 FROM (VALUES (CAST('1234567890123456789012345678.01' AS DECIMAL(38, 10)))) AS t(m)", Ok(&["true"])),
        ("SELECT m = 0.5, m < 0.5 FROM (VALUES (CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)))) AS t(m)", Ok(&["false|false"])),
        ("SELECT arrow_typeof(d + 1.5), arrow_typeof(2.5 * d), arrow_typeof(CASE WHEN d > 1 THEN d ELSE 0.5 END), arrow_typeof(coalesce(d, 0.0)) FROM (VALUES (CAST(2 AS DOUBLE))) AS t(d)",
         Ok(&["Float64|Float64|Float64|Float64"])),
        ("SELECT arrow_typeof(r + 1.5), r > 1.4 FROM (VALUES (CAST(1.5 AS REAL))) AS t(r)", Ok(&["Float64|true"])),
        ("SELECT d > 20.5, d = 20.5, d IN (20.5, 1.0), d BETWEEN 20.4 AND 20.6 FROM (VALUES (CAST('20.5' AS DOUBLE))) AS t(d)", Ok(&["false|true|true|true"])),
        ("SELECT d > 20.5 FROM (VALUES (CAST('1e300' AS DOUBLE)), (CAST('NaN' AS DOUBLE)), (CAST('-Infinity' AS DOUBLE))) AS t(d)", Ok(&["true", "true", "false"])),
        ("SELECT d = m FROM (VALUES (CAST('1e300' AS DOUBLE), CAST('1.5' AS DECIMAL(10, 2))), (CAST('1.5' AS DOUBLE), CAST('1.5' AS DECIMAL(10, 2)))) AS t(d, m)", Ok(&["false", "true"])),
        ("SELECT c, arrow_typeof(c) FROM (SELECT CAST('1e300' AS DOUBLE) AS c UNION ALL SELECT 2.5) AS u ORDER BY c", Ok(&["2.5|Float64", "1e300|Float64"])),
        ("SELECT c, arrow_typeof(c) FROM (SELECT CASE k WHEN 1 THEN d ELSE x END AS c FROM (VALUES (2, CAST('1.25' AS DECIMAL(15, 2)), CAST('-99999999.99' AS DOUBLE))) AS t (k, d, x) UNION ALL SELECT CAST('35731.2' AS DOUBLE)) AS u ORDER BY c", Ok(&["-99999999.99|Float64", "35731.2|Float64"])),
        ("SELECT c, arrow_typeof(c) FROM (SELECT 1 AS c UNION ALL SELECT 2.5) AS u ORDER BY c", Ok(&["1.0|Decimal128(21, 1)", "2.5|Decimal128(21, 1)"])),
        ("SELECT c, arrow_typeof(c) FROM (VALUES (1.5), (CAST('1e300' AS DOUBLE)), (3)) AS t(c) ORDER BY c", Ok(&["1.5|Float64", "3.0|Float64", "1e300|Float64"])),
        ("SELECT a.d FROM (VALUES (CAST('1.5' AS DOUBLE)), (CAST('1e300' AS DOUBLE))) AS a(d) JOIN (VALUES (1.5)) AS b(m) ON a.d = b.m", Ok(&["1.5"])),
        ("SELECT d FROM (VALUES (CAST('1.5' AS DOUBLE)), (CAST('1e300' AS DOUBLE))) AS a(d) WHERE d IN (SELECT m FROM (VALUES (1.5)) AS b(m))", Ok(&["1.5"])),
        ("SELECT a.x FROM (VALUES (CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0))), (CAST('1' AS DECIMAL(38, 0)))) AS a(x) JOIN (VALUES (CAST('1' AS DECIMAL(38, 20)))) AS b(y) ON a.x = b.y", Ok(&["1"])),
        ("SELECT round(d * 1.8 + 32, 1), round(sqrt(2.25), 1), power(2.5, 2), ln(1.0), floor(2.5), abs(-2.5) FROM (VALUES (CAST(20 AS DOUBLE))) AS t(d)", Ok(&["68.0|1.5|6.25|0.0|2.0|2.5"])),
        ("SELECT approx_percentile_cont(d, 0.5), percentile_cont(d, 0.5), median(d) FROM (VALUES (1), (2), (3)) AS t(d)", Ok(&["2.0|2.0|2.0"])),
        ("SELECT 9223372036854775808 - 9223372036854775809, arrow_typeof(9223372036854775808)", Ok(&["-1|Decimal128(20, 0)"])),
        ("SELECT v > 20.4 FROM (VALUES ('20.45')) AS t(v)", Ok(&["true"])),
        ("SELECT CASE k WHEN 1 THEN 1 WHEN 2 THEN b ELSE 0.5 END, coalesce(b, 0.5) FROM (VALUES (2, 9007199254740993)) AS t(k, b)", Ok(&["9007199254740993.0|9007199254740993.0"])),
        ("SELECT i > 2.5, i = 3.0, i + 0.5 FROM (VALUES (3)) AS t(i)", Ok(&["true|true|3.5"])),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 0.5 FROM r WHERE n < 3) SELECT n FROM r", Err("begins as")),
    ])
    .await;
}

#[tokio::test]
async fn whole_numbers_that_leave_their_type_are_errors() {
    const BIG: &str = "(VALUES (9223372036854775807, 1), (1, 2)) AS t(a, b)";
    for (text, fails) in [
        ("SELECT 9223372036854775807 + 1".to_owned(), true),
        ("SELECT 2147483647::int + 1::int".to_owned(), true),
        ("SELECT x + 1 FROM (SELECT 9223372036854775807 AS x) AS s".to_owned(), true),
        ("WITH c AS (SELECT 9223372036854775807 AS x) SELECT y + z FROM (SELECT x AS y, 1 AS z FROM c) AS s".to_owned(), true),
        ("SELECT (SELECT 9223372036854775807) + 1".to_owned(), true),
        ("SELECT -(-9223372036854775808)".to_owned(), true),
        ("SELECT -9223372036854775808 - 1, 5000000000 * 5000000000".to_owned(), true),
        ("SELECT abs(-9223372036854775808)".to_owned(), true),
        ("SELECT -9223372036854775808 / -1".to_owned(), true),
        ("SELECT CAST(3000000000 AS INT)".to_owned(), true),
        ("SELECT 100::tinyint + 100::tinyint".to_owned(), true),
        (format!("SELECT a + b FROM {BIG}"), true),
        (format!("SELECT a * b FROM {BIG} WHERE a > 5"), false),
        (format!("SELECT a - b FROM {BIG}"), false),
        (format!("SELECT b FROM {BIG} WHERE a + b > 5"), true),
        (format!("SELECT -(0 - a - b) FROM {BIG} WHERE b < 2"), true),
        (format!("SELECT x.b FROM {BIG} JOIN (VALUES (3)) AS x(b) ON t.a + t.b > x.b"), true),
        (format!("SELECT x.b FROM {BIG} JOIN (VALUES (3)) AS x(b) ON t.a + t.b = x.b"), true),
        (format!("SELECT x.b FROM {BIG} LEFT JOIN (VALUES (3)) AS x(b) ON t.a + t.b = x.b"), true),
        (format!("SELECT sum(a) FROM {BIG}"), true),
        (format!("SELECT sum(a) FROM {BIG} WHERE b < 2"), false),
        (format!("SELECT sum(a + b) FROM {BIG}"), true),
        (format!("SELECT count(*) FILTER (WHERE a + b > 3) FROM {BIG}"), true),
        (format!("SELECT sum(a) FROM {BIG} GROUP BY b > 0"), true),
        (format!("SELECT sum(DISTINCT a) FROM {BIG}"), true),
        (format!("SELECT sum(a) OVER (ORDER BY b) FROM {BIG}"), true),
        (format!("SELECT sum(a) OVER (ORDER BY b DESC) FROM {BIG}"), true),
        (format!("SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {BIG}"), true),
        (format!("SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN CURRENT ROW AND CURRENT ROW) FROM {BIG}"), false),
        (format!("SELECT a FROM {BIG} ORDER BY a + b LIMIT 1"), true),
        (format!("SELECT a + b AS k, count(*) FROM {BIG} GROUP BY a + b"), true),
        (format!("SELECT max(a + b) OVER () FROM {BIG}"), true),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n * 1000 FROM r WHERE n > 0) SELECT max(n) FROM r".to_owned(), true),
    ] {
        let expected: Result<&[&str], &str> = if fails { Err("overflow|cast|out of range") } else { Ok(&[]) };
        if fails {
            check(&[(&text, expected)]).await;
        } else {
            let session = session();
            let found = answer(&session, &text).await;
            assert!(found.is_ok(), "{text}: {found:?}");
        }
    }
}

#[tokio::test]
async fn sums_do_not_depend_on_what_their_parts_would_overflow() {
    check(&[
        ("SELECT sum(a) FROM (VALUES (9223372036854775807), (9223372036854775807), (-9223372036854775807)) AS t(a)", Ok(&["9223372036854775807"])),
        ("SELECT g, sum(a) FROM (VALUES (1, 9223372036854775807), (1, 1), (1, -1), (2, NULL)) AS t(g, a) GROUP BY g ORDER BY g", Ok(&["1|9223372036854775807", "2|null"])),
        ("SELECT sum(a) FILTER (WHERE a > 1), sum(a), sum(DISTINCT a) FROM (VALUES (1), (2), (2), (NULL)) AS t(a)", Ok(&["4|5|3"])),
        ("SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1), (2), (4)) AS t(a)", Ok(&["1", "3", "6"])),
        ("SELECT sum(DISTINCT a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1), (1), (4)) AS t(a)", Ok(&["1", "1", "5"])),
        ("SELECT sum(a), avg(a) FROM (VALUES (CAST(1.5 AS DOUBLE)), (2.5)) AS t(a)", Ok(&["4.0|2.0"])),
        ("SELECT sum(a), arrow_typeof(sum(a)) FROM (VALUES (1.5), (2.25)) AS t(a)", Ok(&["3.75|Decimal128(13, 2)"])),
        ("SELECT sum(a) FROM (VALUES (INTERVAL '1 hour'), (INTERVAL '2 hours')) AS t(a)", Ok(&["3 hours"])),
    ])
    .await;
}

#[tokio::test]
async fn decimals_are_exact_or_refused() {
    check(&[
        ("SELECT CAST('12345678901234567.89' AS DECIMAL(19, 2)) * CAST('1000.01' AS DECIMAL(19, 2))", Ok(&["12345802358023580235.6789"])),
        ("SELECT CAST('99999999999999999999' AS DECIMAL(38, 10)) * CAST('99999999999999999999' AS DECIMAL(38, 10))", Err(LEFT_ITS_TYPE)),
        ("SELECT a + b FROM (VALUES (CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)), CAST('1' AS DECIMAL(38, 0)))) AS t(a, b)", Err(LEFT_ITS_TYPE)),
        ("SELECT CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)) + CAST('1' AS DECIMAL(38, 0))", Err(LEFT_ITS_TYPE)),
        ("SELECT sum(v) FROM (VALUES (CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0))), (CAST('1' AS DECIMAL(38, 0)))) AS t(v)", Err(LEFT_ITS_TYPE)),
        ("SELECT sum(v) FROM (VALUES (1, CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0))), (1, CAST('1' AS DECIMAL(38, 0)))) AS t(g, v) GROUP BY g", Err(LEFT_ITS_TYPE)),
        ("SELECT avg(v), arrow_typeof(avg(v)) FROM (VALUES (CAST('0.01' AS DECIMAL(10, 2))), (CAST('0.02' AS DECIMAL(10, 2))), (CAST('0.02' AS DECIMAL(10, 2)))) AS t(v)", Ok(&["0.016667|Decimal128(14, 6)"])),
        ("SELECT avg(v) FROM (VALUES (1, CAST('-0.01' AS DECIMAL(10, 2))), (1, CAST('-0.02' AS DECIMAL(10, 2))), (1, CAST('-0.02' AS DECIMAL(10, 2)))) AS t(g, v) GROUP BY g", Ok(&["-0.016667"])),
        ("SELECT avg(DISTINCT v) FROM (VALUES (CAST('0.01' AS DECIMAL(10, 2))), (CAST('0.02' AS DECIMAL(10, 2))), (CAST('0.02' AS DECIMAL(10, 2)))) AS t(v)", Ok(&["0.015000"])),
        ("SELECT avg(v) OVER (ORDER BY n ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM (VALUES (1, CAST('0.01' AS DECIMAL(10, 2))), (2, CAST('0.02' AS DECIMAL(10, 2))), (3, CAST('0.02' AS DECIMAL(10, 2)))) AS t(n, v)", Ok(&["0.010000", "0.015000", "0.016667"])),
        ("SELECT CAST('1.00' AS DECIMAL(10, 2)) / CAST('3.00' AS DECIMAL(10, 2)), CAST('2.00' AS DECIMAL(10, 2)) / 3", Ok(&["0.3333333333333333|0.6666666666666667"])),
        ("SELECT 1 / 3.0, 7 / 2, 7 / 2.0", Ok(&["0.3333333333333333|3|3.5000000000000000"])),
        ("SELECT CAST('1.00' AS DECIMAL(10, 2)) / CAST('0.00' AS DECIMAL(10, 2))", Err("divi")),
        ("SELECT CAST('1.10' AS DECIMAL(5, 2)) = CAST('1.1' AS DECIMAL(38, 20)), CAST('1.10' AS DECIMAL(5, 2)) IN (1.1), CAST('-0.0' AS DECIMAL(5, 1)) = 0", Ok(&["true|true|true"])),
        ("SELECT CAST(CAST('2.345' AS DECIMAL(10, 3)) AS DECIMAL(10, 2)), CAST(CAST('-2.345' AS DECIMAL(10, 3)) AS DECIMAL(10, 2))", Ok(&["2.35|-2.35"])),
        ("SELECT CAST('12345.6' AS DECIMAL(5, 2))", Err("overflow|out of range|precision|too large|cast")),
        ("SELECT count(*) FROM (VALUES (CAST('0.1' AS DECIMAL(10, 1))), (CAST('0.2' AS DECIMAL(10, 1)))) AS t(v) WHERE v + CAST('0.2' AS DECIMAL(10, 1)) = 0.3", Ok(&["1"])),
        ("SELECT CAST('5.5' AS DECIMAL(10, 1)) % CAST('2' AS DECIMAL(10, 0)), CAST('-5.5' AS DECIMAL(10, 1)) % CAST('2' AS DECIMAL(10, 0))", Ok(&["1.5|-1.5"])),
        ("SELECT -v, abs(v) FROM (VALUES (CAST('-1.50' AS DECIMAL(10, 2)))) AS t(v)", Ok(&["1.50|1.50"])),
    ])
    .await;
}

/// Right answers by the documented order: -0.0 = 0.0, NaN = NaN, NaN is the largest.
#[tokio::test]
async fn floating_numbers_have_one_order() {
    const ZEROS: &str = "(VALUES (1, CAST('0.0' AS DOUBLE)), (2, CAST('-0.0' AS DOUBLE)), (3, CAST('NaN' AS DOUBLE)), (4, -CAST('NaN' AS DOUBLE)), (5, CAST('Infinity' AS DOUBLE)), (6, CAST('-Infinity' AS DOUBLE))) AS t(n, z)";
    let cases: Vec<(String, &[&str])> = vec![
        (format!("SELECT count(*) FROM (SELECT DISTINCT z FROM {ZEROS}) AS d"), &["4"]),
        (format!("SELECT count(DISTINCT z) FROM {ZEROS}"), &["4"]),
        (format!("SELECT sum(DISTINCT z) FROM {ZEROS} WHERE n < 3"), &["0.0"]),
        (format!("SELECT count(*) FROM (SELECT z FROM {ZEROS} GROUP BY z) AS g"), &["4"]),
        (format!("SELECT z, count(*) FROM {ZEROS} GROUP BY z ORDER BY z"), &["-inf|1", "0.0|2", "inf|1", "NaN|2"]),
        (format!("SELECT count(*) FROM (SELECT z FROM {ZEROS} GROUP BY ROLLUP (z)) AS g"), &["5"]),
        (format!("SELECT n FROM {ZEROS} ORDER BY z, n DESC"), &["6", "2", "1", "5", "4", "3"]),
        (format!("SELECT n FROM {ZEROS} ORDER BY z DESC, n LIMIT 3"), &["3", "4", "5"]),
        (format!("SELECT n FROM {ZEROS} WHERE z IN (0.0, 7.0, 8.0, 9.0) ORDER BY n"), &["1", "2"]),
        (format!("SELECT n FROM {ZEROS} WHERE z = 0.0 OR z = 7.0 OR z = 8.0 OR z = 9.0 ORDER BY n"), &["1", "2"]),
        (format!("SELECT n FROM {ZEROS} WHERE z NOT IN (0, 7, 8, 9) ORDER BY n"), &["3", "4", "5", "6"]),
        (format!("SELECT n FROM {ZEROS} WHERE z = -0.0e0 ORDER BY n"), &["1", "2"]),
        (format!("SELECT n FROM {ZEROS} WHERE z + 0 > 1e300 ORDER BY n"), &["3", "4", "5"]),
        (format!("SELECT count(*) FROM {ZEROS} JOIN {} ON t.z = u.z", ZEROS.replace("AS t(", "AS u(")), &["10"]),
        (format!("SELECT count(*) FROM {ZEROS} JOIN {} USING (z)", ZEROS.replace("AS t(", "AS u(")), &["10"]),
        (format!("SELECT n FROM {ZEROS} WHERE z IN (SELECT z FROM {ZEROS} WHERE n IN (2, 4)) ORDER BY n"), &["1", "2", "3", "4"]),
        (format!("SELECT count(*) FROM (SELECT z FROM {ZEROS} WHERE n IN (1, 3) INTERSECT SELECT z FROM {ZEROS} WHERE n IN (2, 4)) AS i"), &["2"]),
        (format!("SELECT count(*) FROM (SELECT z FROM {ZEROS} UNION SELECT z FROM {ZEROS}) AS i"), &["4"]),
        (format!("SELECT n, rank() OVER (ORDER BY z) FROM {ZEROS} ORDER BY n"), &["1|2", "2|2", "3|5", "4|5", "5|4", "6|1"]),
        (format!("SELECT n, count(*) OVER (PARTITION BY z) FROM {ZEROS} ORDER BY n"), &["1|2", "2|2", "3|2", "4|2", "5|1", "6|1"]),
        (format!("SELECT min(z), max(z) FROM {ZEROS}"), &["-inf|NaN"]),
        (format!("SELECT n, CASE z WHEN 0.0 THEN 'zero' WHEN CAST('NaN' AS DOUBLE) THEN 'none' END, nullif(z, 0.0) FROM {ZEROS} WHERE n < 5 ORDER BY n"), &["1|zero|null", "2|zero|null", "3|none|NaN", "4|none|NaN"]),
        (format!("SELECT min(z), max(z) FROM {ZEROS} WHERE n IN (4, 5)"), &["inf|NaN"]),
        (format!("SELECT n % 2, min(z), max(z) FROM {ZEROS} WHERE n > 2 GROUP BY n % 2 ORDER BY 1"), &["0|-inf|NaN", "1|inf|NaN"]),
        (format!("SELECT n, min(z), max(z) FROM {ZEROS} GROUP BY n ORDER BY n"), &["1|0.0|0.0", "2|0.0|0.0", "3|NaN|NaN", "4|NaN|NaN", "5|inf|inf", "6|-inf|-inf"]),
        (format!("SELECT n, max(CAST(z AS REAL)) FROM {ZEROS} WHERE n > 4 GROUP BY n ORDER BY n"), &["5|inf", "6|-inf"]),
        (format!("SELECT max(z) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {ZEROS}"), &["0.0", "0.0", "NaN", "NaN", "NaN", "inf"]),
        (format!("SELECT sum(z) OVER (ORDER BY n DESC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {ZEROS}"), &["-inf", "NaN", "NaN", "NaN", "NaN", "0.0"]),
        ("SELECT sum(v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), avg(v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1, 1e300), (2, 1e0), (3, 2e0)) AS t(n, v)".to_owned(), &["1e300|1e300", "1e300|5e299", "3.0|1.5"]),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(text, rows)| (text.as_str(), Ok(*rows)))
        .collect();
    check(&cases).await;
}

/// Variances of 10^9 + {4, 7, 13, 16} by hand.
#[tokio::test]
async fn variances_are_never_negative() {
    check(&[
        ("SELECT var_pop(v), var_samp(v) FROM (VALUES (1000000004), (1000000007), (1000000013), (1000000016)) AS t(v)", Ok(&["22.5|30.0"])),
        ("SELECT var_samp(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1000000004), (1000000007), (1000000013), (1000000016)) AS t(v)", Ok(&["null", "4.5", "18.0", "4.5"])),
        ("SELECT var_pop(v) OVER (ORDER BY v) FROM (VALUES (1000000004), (1000000007), (1000000013), (1000000016)) AS t(v)", Ok(&["0.0", "2.25", "14.0", "22.5"])),
        ("SELECT count(*) FROM (SELECT var_pop(v) OVER (ORDER BY n ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS b, stddev_pop(v) OVER (ORDER BY n ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS c FROM (VALUES (1, 1e16), (2, 1e0), (3, 1e0), (4, 1e0), (5, 0.1e0), (6, 0.1e0), (7, 0.1e0)) AS t(n, v)) AS q WHERE b < 0 OR isnan(c)", Ok(&["0"])),
        ("SELECT stddev(v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1, CAST('Infinity' AS DOUBLE)), (2, 1e0), (3, 1e0)) AS t(n, v)", Ok(&["null", "NaN", "0.0"])),
    ])
    .await;
}

#[tokio::test]
async fn excluded_rows_do_not_fail() {
    const PAIRS: &str = "(VALUES (0, 10, 2, '5'), (1, 10, 0, 'x'), (2, NULL, 3, ''), (3, 7, NULL, '12'), (4, 0, 5, NULL), (5, -4, 0, '1.5')) AS pairs(n, a, b, s)";
    let cases: Vec<(String, Result<&[&str], &str>)> = vec![
        (format!("SELECT n FROM {PAIRS} WHERE b <> 0 AND a / b > 1"), Ok(&["0"])),
        (format!("SELECT n FROM {PAIRS} WHERE a / b > 1"), Err("divi")),
        (format!("SELECT n FROM (SELECT n, a, b FROM {PAIRS} WHERE b <> 0) AS s WHERE a / b > 1"), Ok(&["0"])),
        (format!("SELECT n FROM (SELECT n, a / b AS q FROM {PAIRS} WHERE b <> 0) AS s WHERE q > 1"), Ok(&["0"])),
        (format!("SELECT n FROM {PAIRS} WHERE b <> 0 AND n >= 0 AND a / b >= 0 AND 10 % b = 0 ORDER BY n"), Ok(&["0", "4"])),
        (format!("SELECT n, b <> 0 AND a / b > 1 FROM {PAIRS} ORDER BY n"), Ok(&["0|true", "1|false", "2|null", "3|null", "4|false", "5|false"])),
        (format!("SELECT n, b = 0 OR a / b > 1 FROM {PAIRS} ORDER BY n"), Ok(&["0|true", "1|true", "2|null", "3|null", "4|false", "5|true"])),
        (format!("SELECT n FROM {PAIRS} WHERE CASE WHEN b <> 0 THEN a / b > 1 ELSE false END"), Ok(&["0"])),
        (format!("SELECT n FROM {PAIRS} WHERE NOT CASE WHEN b <> 0 THEN a / b > 1 ELSE false END ORDER BY n"), Ok(&["1", "3", "4", "5"])),
        (format!("SELECT sum(a / b) FILTER (WHERE b <> 0), count(a / b) FILTER (WHERE b <> 0 AND n < 9) FROM {PAIRS}"), Ok(&["5|2"])),
        (format!("SELECT n FROM {PAIRS} WHERE s IN ('5', '12') AND CAST(s AS BIGINT) > 6"), Ok(&["3"])),
        (format!("SELECT n, coalesce(b, a / b, -7) FROM {PAIRS} ORDER BY n"), Ok(&["0|2", "1|0", "2|3", "3|-7", "4|5", "5|0"])),
        (format!("SELECT n, CASE WHEN b = 0 THEN 0 ELSE a / b END + CASE WHEN b = 0 THEN 0 ELSE a / b END FROM {PAIRS} ORDER BY n"), Ok(&["0|10", "1|0", "2|null", "3|null", "4|0", "5|0"])),
        (format!("SELECT p.n FROM {PAIRS} AS p LEFT JOIN (VALUES (1)) AS u(x) ON p.b <> 0 AND p.a / p.b > u.x WHERE u.x IS NOT NULL").replace(" AS pairs(n, a, b, s) AS p", " AS p(n, a, b, s)"), Ok(&["0"])),
        (format!("SELECT p.n, u.x FROM {PAIRS} AS p LEFT JOIN (VALUES (1)) AS u(x) ON p.b <> 0 AND p.a / p.b > u.x ORDER BY p.n").replace(" AS pairs(n, a, b, s) AS p", " AS p(n, a, b, s)"), Ok(&["0|1", "1|null", "2|null", "3|null", "4|null", "5|null"])),
        (format!("SELECT b, count(*) FROM {PAIRS} GROUP BY b HAVING b <> 0 AND 10 / b > 3 ORDER BY b"), Ok(&["2|1"])),
        ("SELECT CASE WHEN a < 9223372036854775807 THEN a + 1 ELSE a END FROM (VALUES (9223372036854775807), (1)) AS t(a)".to_owned(), Ok(&["9223372036854775807", "2"])),
        ("SELECT a FROM (VALUES (9223372036854775807), (1)) AS t(a) WHERE a < 100 AND a + 1 > 1".to_owned(), Ok(&["1"])),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(text, rows)| (text.as_str(), *rows))
        .collect();
    check(&cases).await;
}

/// Rows that are being made follow the same rules as queries.
#[tokio::test]
async fn a_volatile_condition_is_drawn_once_for_each_row() {
    let session = session();
    for text in [
        "SELECT count(*) FROM range(10000) AS t(n) WHERE random() < 0.5 AND 10 / (n + 1) >= 0",
        "SELECT count(*) FROM range(10000) AS t(n) WHERE 10 / (n + 1) >= 0 AND random() < 0.5",
        "SELECT sum(10 / (n + 1) * 0 + 1) FILTER (WHERE random() < 0.5) FROM range(10000) AS t(n)",
    ] {
        let rows = answer(&session, text).await.expect(text);
        let count: i64 = rows[0].parse().expect(text);
        // Of 10,000 rows half; drawn twice, a quarter. Seven standard deviations are 350.
        assert!((4650..=5350).contains(&count), "{text}: {count}");
    }
    let twice = "SELECT count(*) FROM range(100) AS t(n) WHERE nullif(round(random()), 0e0) = 0e0";
    assert_eq!(answer(&session, twice).await.expect(twice), ["0"]);
    let anew = "SELECT v, (SELECT count(*) FROM range(5) AS s(k) WHERE k < r.v) FROM (SELECT random() AS v FROM range(9)) AS r";
    let refusal = answer(&session, anew).await.expect_err(anew);
    assert!(refusal.contains("makes anew"), "{refusal}");
}

#[tokio::test]
async fn conditions_that_may_fail_make_plans_that_grow_with_their_number() {
    let session = session();
    let plan = async |text: String| answer(&session, &text).await.expect(&text).concat().len();
    let in_row = |count: i64| {
        let safe: String = (0..count).map(|at| format!("n > -{at} AND ")).collect();
        format!("EXPLAIN SELECT n FROM range(9) AS t(n) WHERE {safe} 10 / n > -1")
    };
    let (small, large) = (plan(in_row(10)).await, plan(in_row(40)).await);
    assert!(large < 6 * small, "{small} and {large} bytes");
    let inside = |depth: i64, is_left: bool| {
        let first = "(10 / n > 1 AND n > 2)".to_owned();
        let whole = (0..depth).fold(first, |inner, at| match is_left {
            true => format!("(({inner} OR n = {at}) AND 10 / n > {at})"),
            false => format!("((n = {at} OR {inner}) AND 10 / n > {at})"),
        });
        format!("EXPLAIN SELECT {whole} AS c FROM range(9) AS t(n)")
    };
    for is_left in [false, true] {
        let small = plan(inside(4, is_left)).await;
        let large = plan(inside(12, is_left)).await;
        assert!(large < 12 * small, "{small} and {large} bytes");
    }
}

#[tokio::test]
async fn rows_of_a_table_file_follow_the_same_rules() {
    let context = rows_context(chrono_tz::UTC).expect("a context");
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("d", DataType::Float64, true),
        Field::new("q", DataType::Int64, false),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(1), None])),
        Arc::new(Float64Array::from(vec![Some(-0.0), Some(20.5), None])),
        Arc::new(Int64Array::from(vec![1, 2, 3])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch");
    let table = MemTable::try_new(schema, vec![vec![batch]]).expect("a table");
    context
        .register_table("message", Arc::new(table))
        .expect("a new name");
    for (text, expected) in [
        ("SELECT n + 1 FROM message", Err("overflow")),
        ("SELECT n + 1 FROM message WHERE q > 1", Ok("2,null")),
        (
            "SELECT q FROM message WHERE q > 1 AND 10 / (q - 1) > 5",
            Ok("2"),
        ),
        ("SELECT q FROM message WHERE d > 20.4 AND d < 20.6", Ok("2")),
        (
            "SELECT arrow_typeof(q / 3600.0), arrow_typeof(q / 3600e0) FROM message LIMIT 1",
            Ok("Decimal128(36, 16)|Float64"),
        ),
        (
            "SELECT count(DISTINCT d), min(d), sum(q) FROM message",
            Ok("2|0.0|6"),
        ),
    ] {
        let plan = plan_messages(&context, text, "test").await.expect("a plan");
        let frame = context.execute_logical_plan(plan).await.expect("a frame");
        let found = rows(frame).await.map(|rows| rows.join(","));
        match expected {
            Ok(expected) => assert_eq!(found.as_deref(), Ok(expected), "{text}"),
            Err(expected) => {
                let found = found.expect_err(text).to_lowercase();
                assert!(found.contains(expected), "{text}: {found}");
            }
        }
    }
}
