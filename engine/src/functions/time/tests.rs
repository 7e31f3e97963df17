//! Statements about times with their answers. Those of the first two tables are PostgreSQL 15.18's
//! in a session whose zone is UTC.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono_tz::Europe::Paris;

use crate::session::{plan_messages, rows_context};

/// The values of the only column of `statement`, or why there are none.
async fn answer(statement: &str) -> Result<String, String> {
    let context = rows_context(Paris).map_err(|error| error.to_string())?;
    let plan = plan_messages(&context, statement, "test").await;
    let plan = plan.map_err(|error| format!("{error:?}"))?;
    let rows = async { context.execute_logical_plan(plan).await?.collect().await };
    let mut values = Vec::new();
    for batch in rows.await.map_err(|error| error.to_string())? {
        let options = FormatOptions::new().with_null("null");
        let column = batch.column(0);
        let column =
            ArrayFormatter::try_new(column, &options).map_err(|error| error.to_string())?;
        for row in 0..batch.num_rows() {
            let value = column.value(row).try_to_string();
            values.push(value.map_err(|error| error.to_string())?);
        }
    }
    Ok(values.join(", "))
}

/// The statement alone, in a CTE, and in a subquery that renames its column.
async fn check(statement: &str, expected: &str) {
    for shape in [
        statement.to_owned(),
        format!("WITH q AS ({statement}) SELECT * FROM q"),
        format!("SELECT renamed FROM ({statement}) AS s(renamed)"),
    ] {
        assert_eq!(answer(&shape).await.as_deref(), Ok(expected), "{shape}");
    }
}

const ENDS: &str = "(VALUES (TIMESTAMP WITH TIME ZONE '0001-01-01 00:00:00Z', DATE '0001-01-01'), \
    (TIMESTAMP WITH TIME ZONE '2026-01-15 10:00:00Z', DATE '2026-01-15'), \
    (TIMESTAMP WITH TIME ZONE '9999-12-31 23:59:59.999999Z', DATE '9999-12-31')) AS t(ts, d)";

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
async fn the_ends_of_time_work_in_every_form() {
    for (select, expected) in [
        (
            "SELECT count(*) FROM {} WHERE ts < '9999-12-31T00:00:00Z'",
            "2",
        ),
        ("SELECT count(*) FROM {} WHERE ts >= '9999-12-31'", "1"),
        (
            "SELECT count(*) FROM {} WHERE ts = TIMESTAMP '0001-01-01 00:00:00'",
            "1",
        ),
        (
            "SELECT count(*) FROM {} WHERE ts > CAST('9999-12-31' AS TIMESTAMP)",
            "1",
        ),
        (
            "SELECT count(*) FROM {} WHERE ts > '9999-12-31 00:00:00'::timestamptz",
            "1",
        ),
        (
            "SELECT count(*) FROM {} WHERE ts BETWEEN '0001-01-01' AND '2026-12-31'",
            "2",
        ),
        (
            "SELECT count(*) FROM {} WHERE ts BETWEEN DATE '0001-01-01' AND TIMESTAMP '9999-12-31 00:00:00'",
            "2",
        ),
        (
            "SELECT count(*) FROM {} WHERE ts IN ('0001-01-01', '9999-12-31 23:59:59.999999')",
            "2",
        ),
        (
            "SELECT count(*) FROM {} WHERE ts NOT IN (DATE '0001-01-01')",
            "2",
        ),
        ("SELECT count(*) FROM {} WHERE ts > d", "2"),
        ("SELECT count(*) FROM {} WHERE d <= ts", "3"),
        (
            "SELECT count(*) FROM {} WHERE ts IS DISTINCT FROM '0001-01-01'",
            "2",
        ),
        ("SELECT count(*) FROM {} WHERE d < '9999-12-31'", "2"),
        (
            "SELECT count(*) FROM {} WHERE d BETWEEN '0001-01-01' AND '9999-12-31'",
            "3",
        ),
        (
            "SELECT count(*) FROM {} WHERE d < TIMESTAMP '9999-12-31 00:00:01'",
            "3",
        ),
        ("SELECT count(*) FROM {} WHERE ts < now()", "2"),
        (
            "SELECT count(*) FROM {} WHERE ts > now() - INTERVAL '400 days'",
            "2",
        ),
        (
            "SELECT count(*) FROM {} WHERE coalesce(ts, DATE '9999-12-31') > DATE '9999-01-01'",
            "1",
        ),
        (
            "SELECT count(*) FROM {} WHERE coalesce(NULL, ts, '9999-12-31') > '9999-01-01'",
            "1",
        ),
        (
            "SELECT count(*) FROM {} WHERE greatest(ts, TIMESTAMP '2020-01-01 00:00:00') > '9999-01-01'",
            "1",
        ),
        (
            "SELECT count(*) FROM {} WHERE CASE WHEN d = '2026-01-15' THEN DATE '9999-12-31' ELSE ts END >= '9999-12-31'",
            "2",
        ),
        (
            "SELECT count(*) FROM {} WHERE CASE WHEN d = '2026-01-15' THEN ts ELSE '9999-12-31' END >= '9999-12-31'",
            "2",
        ),
        (
            "SELECT count(*) FROM {} WHERE ts IN (SELECT CAST('0001-01-01' AS DATE))",
            "1",
        ),
        (
            "SELECT count(*) FROM (SELECT ts AS x FROM {} UNION SELECT DATE '9999-12-31') AS u WHERE x >= '9999-12-31'",
            "2",
        ),
        (
            "SELECT count(*) FROM {} JOIN (SELECT DATE '0001-01-01' AS day) AS o ON o.day = ts",
            "1",
        ),
        (
            "SELECT to_char(max(ts), 'YYYY-MM-DD HH24:MI:SS.US') FROM {}",
            "9999-12-31 23:59:59.999999",
        ),
        (
            "SELECT to_char(min(ts), 'YYYY-MM-DD') FROM {}",
            "0001-01-01",
        ),
        ("SELECT CAST(max(d) AS VARCHAR) FROM {}", "9999-12-31"),
        (
            "SELECT CAST(extract(year FROM max(ts)) AS BIGINT) FROM {}",
            "9999",
        ),
        (
            "SELECT CAST(date_part('year', min(ts)) AS BIGINT) FROM {}",
            "1",
        ),
        (
            "SELECT to_char(date_trunc('month', max(ts)), 'YYYY-MM-DD HH24:MI') FROM {}",
            "9999-12-01 00:00",
        ),
        (
            "SELECT to_char(date_trunc('week', min(ts)), 'YYYY-MM-DD') FROM {}",
            "0001-01-01",
        ),
        (
            "SELECT to_char(date_trunc('year', max(d)), 'YYYY-MM-DD') FROM {}",
            "9999-01-01",
        ),
        (
            "SELECT to_char(date_bin(INTERVAL '1 day', max(ts), TIMESTAMP WITH TIME ZONE '1970-01-01 12:00:00Z'), 'YYYY-MM-DD HH24') FROM {}",
            "9999-12-31 12",
        ),
        (
            "SELECT to_char(date_bin(INTERVAL '15 minutes', min(ts), TIMESTAMP WITH TIME ZONE '2001-01-01 00:00:00Z'), 'YYYY-MM-DD HH24:MI') FROM {}",
            "0001-01-01 00:00",
        ),
        (
            "SELECT to_char(CAST(max(d) AS TIMESTAMP), 'YYYY-MM-DD HH24:MI') FROM {}",
            "9999-12-31 00:00",
        ),
        (
            "SELECT CAST(CAST(max(ts) AS DATE) AS VARCHAR) FROM {}",
            "9999-12-31",
        ),
        (
            "SELECT to_char(to_timestamp('9999-12-31', 'YYYY-MM-DD'), 'YYYY-MM-DD')",
            "9999-12-31",
        ),
        (
            "SELECT to_char(max(ts) AT TIME ZONE 'Europe/Paris', 'YYYY-MM-DD HH24:MI') FROM {}",
            "10000-01-01 00:59",
        ),
        (
            "SELECT CAST(to_date('0001-01-01', 'YYYY-MM-DD') AS VARCHAR)",
            "0001-01-01",
        ),
    ] {
        check(&select.replace("{}", ENDS), expected).await;
    }
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
async fn times_are_what_they_are_in_postgresql() {
    for (select, expected) in [
        (
            "SELECT to_char(DATE '2026-01-31' + INTERVAL '36 hours', 'YYYY-MM-DD HH24:MI')",
            "2026-02-01 12:00",
        ),
        (
            "SELECT to_char(DATE '2026-01-31' - INTERVAL '36 hours', 'YYYY-MM-DD HH24:MI')",
            "2026-01-29 12:00",
        ),
        (
            "SELECT to_char(INTERVAL '1 day 6 hours' + DATE '2026-01-31', 'YYYY-MM-DD HH24:MI')",
            "2026-02-01 06:00",
        ),
        (
            "SELECT to_char(d + i, 'YYYY-MM-DD HH24:MI') FROM (VALUES (DATE '2026-01-31', INTERVAL '90 minutes')) AS t(d, i)",
            "2026-01-31 01:30",
        ),
        (
            "SELECT to_char(d + INTERVAL '1 month', 'YYYY-MM-DD HH24:MI') FROM (VALUES (DATE '2026-01-31')) AS t(d)",
            "2026-02-28 00:00",
        ),
        (
            "SELECT d + INTERVAL '12 hours' <= ts FROM (VALUES (DATE '2026-01-15', TIMESTAMP '2026-01-15 11:59:59')) AS t(d, ts)",
            "false",
        ),
        (
            "SELECT x > '2026-02-01 11:00' FROM (SELECT DATE '2026-01-31' + INTERVAL '36 hours' AS x) AS t",
            "true",
        ),
        (
            "SELECT to_char(DATE '2026-01-31' + TIME '10:30:00', 'YYYY-MM-DD HH24:MI')",
            "2026-01-31 10:30",
        ),
        (
            "SELECT to_char(TIMESTAMP '2026-01-15 10:00:00' AT TIME ZONE 'Europe/Paris', 'HH24:MI TZ')",
            "09:00 UTC",
        ),
        (
            "SELECT to_char(TIMESTAMP '2026-10-25 02:30:00' AT TIME ZONE 'Europe/Paris', 'HH24:MI')",
            "01:30",
        ),
        (
            "SELECT to_char(TIMESTAMP '2026-03-29 02:30:00' AT TIME ZONE 'Europe/Paris', 'HH24:MI')",
            "01:30",
        ),
        (
            "SELECT to_char('2026-01-15 10:00:00Z' AT TIME ZONE 'Europe/Paris', 'HH24:MI')",
            "11:00",
        ),
        (
            "SELECT to_char(DATE '2026-01-15' AT TIME ZONE 'Europe/Paris', 'YYYY-MM-DD HH24:MI')",
            "2026-01-15 01:00",
        ),
        (
            "SELECT to_char(TIMESTAMP '2026-01-15 10:00:00' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Kolkata', 'HH24:MI')",
            "15:30",
        ),
        (
            "SELECT to_char(ts AT TIME ZONE z, 'HH24:MI') FROM (VALUES (TIMESTAMP '2026-07-15 10:00:00', 'Asia/Kathmandu')) AS t(ts, z)",
            "04:15",
        ),
        (
            "SELECT to_char(date_trunc('day', TIMESTAMP WITH TIME ZONE '2026-01-15 23:30:00Z', 'Europe/Paris'), 'YYYY-MM-DD HH24:MI')",
            "2026-01-15 23:00",
        ),
        (
            "SELECT to_char(to_timestamp('2026-01-15 10:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US'), 'YYYY-MM-DD HH24:MI:SS TZ')",
            "2026-01-15 10:00:00 UTC",
        ),
        (
            "SELECT to_char(to_timestamp(1768471200.5), 'YYYY-MM-DD HH24:MI:SS.MS')",
            "2026-01-15 10:00:00.500",
        ),
        (
            "SELECT to_char(to_timestamp(-62135596800), 'YYYY-MM-DD')",
            "0001-01-01",
        ),
        (
            "SELECT to_char(ts, p) FROM (VALUES (TIMESTAMP '2026-01-15 10:00:00', 'Dy DD Mon'), (NULL, 'YYYY')) AS t(ts, p)",
            "Thu 15 Jan, null",
        ),
        ("SELECT to_char(DATE '2026-01-15', 'HH24:MI')", "00:00"),
        (
            "SELECT to_char(TIMESTAMP '2026-01-15 10:00:00', 'IYYY-IW, FMDay \"the\" DDth')",
            "2026-03, Thursday the 15th",
        ),
        (
            "SELECT TIMESTAMP WITH TIME ZONE '2026-01-15 10:00:00' = '2026-01-15 10:00:00Z'",
            "true",
        ),
    ] {
        check(select, expected).await;
    }
}

#[tokio::test]
async fn a_literal_without_an_offset_is_utc_in_every_form() {
    for literal in [
        "'2026-07-15 10:00:00'",
        "'2026-07-15 10:00'",
        "TIMESTAMP '2026-07-15T10:00Z'",
        "TIMESTAMP '2026-07-15 10:00:00'",
        "TIMESTAMPTZ '2026-07-15 10:00:00'",
        "CAST('2026-07-15 10:00:00' AS TIMESTAMP)",
        "'2026-07-15 10:00:00'::timestamptz",
        "to_timestamp('2026-07-15 10:00:00')",
        "to_timestamp_seconds('2026-07-15 10:00:00')",
        "to_timestamp_micros('2026-07-15 10:00:00')",
        "to_timestamp('15.07.2026 10:00', 'DD.MM.YYYY HH24:MI')",
        "to_timestamp('15.07.2026 10:00', '%d.%m.%Y %H:%M')",
    ] {
        let row =
            "(VALUES (TIMESTAMPTZ '2026-07-15 10:00:00Z', '2026-07-15 10:00:00')) AS t(at, text)";
        for condition in [
            format!("at = {literal}"),
            format!("at IN ({literal})"),
            format!("at BETWEEN {literal} AND {literal}"),
            format!("at = to_timestamp(text) AND to_timestamp(text) = {literal}"),
            format!("at = CAST(text AS TIMESTAMP) AND at = {literal}"),
            format!("at = text AND NOT at <> {literal}"),
        ] {
            check(
                &format!("SELECT count(*) FROM {row} WHERE {condition}"),
                "1",
            )
            .await;
        }
    }
}

#[tokio::test]
async fn series_of_times_go_from_the_first_to_the_last() {
    for (select, expected) in [
        (
            "SELECT to_char(max(value), 'YYYY-MM-DD HH24') FROM generate_series(TIMESTAMP '9999-12-31 00:00:00', TIMESTAMP '9999-12-31 23:00:00', INTERVAL '1 hour')",
            "9999-12-31 23",
        ),
        (
            "SELECT count(*) FROM range(DATE '2026-01-01', DATE '2026-01-03', INTERVAL '1 day')",
            "2",
        ),
        (
            "SELECT arrow_typeof(max(t)) FROM (SELECT unnest(generate_series(TIMESTAMP '2026-01-01 00:00:00', TIMESTAMP '2026-01-02 00:00:00', INTERVAL '1 hour')) AS t) AS s",
            "Timestamp(µs)",
        ),
        ("SELECT count(*) FROM generate_series(1, 5)", "5"),
    ] {
        check(select, expected).await;
    }
}

#[tokio::test]
async fn days_and_instants_have_the_types_that_the_docs_give_them() {
    for (expression, expected) in [
        ("now()", "Timestamp(µs, \"UTC\")"),
        ("to_timestamp('2026-01-15')", "Timestamp(µs, \"UTC\")"),
        ("to_timestamp(0)", "Timestamp(µs, \"UTC\")"),
        ("to_timestamp_seconds(0)", "Timestamp(s, \"UTC\")"),
        ("TIMESTAMP '2026-01-15 10:00:00'", "Timestamp(µs)"),
        (
            "TIMESTAMPTZ '2026-01-15 10:00:00'",
            "Timestamp(µs, \"UTC\")",
        ),
        ("now() AT TIME ZONE 'Europe/Paris'", "Timestamp(µs)"),
        (
            "TIMESTAMP '2026-01-15 10:00:00' AT TIME ZONE 'Europe/Paris'",
            "Timestamp(µs, \"UTC\")",
        ),
        ("DATE '2026-01-15' + INTERVAL '1 day'", "Date32"),
        ("DATE '2026-01-15' - INTERVAL '1 month'", "Date32"),
        ("DATE '2026-01-15' + 1", "Date32"),
        ("DATE '2026-01-15' + INTERVAL '1 hour'", "Timestamp(µs)"),
        ("date_trunc('day', now())", "Timestamp(µs, \"UTC\")"),
        ("event_day(now())", "Date32"),
    ] {
        check(&format!("SELECT arrow_typeof({expression})"), expected).await;
    }
}

#[tokio::test]
async fn what_leaves_the_calendar_is_an_error_and_no_other_day() {
    for statement in [
        "SELECT DATE '2026-01-15' + INTERVAL '999999' YEAR",
        "SELECT d + INTERVAL '999999' YEAR FROM (VALUES (DATE '2026-01-15')) AS t(d)",
        "SELECT d - INTERVAL '2147483647' MONTH FROM (VALUES (DATE '2026-01-15')) AS t(d)",
        "SELECT d + INTERVAL '2147483647' DAY FROM (VALUES (DATE '2026-01-15')) AS t(d)",
        "SELECT d + i FROM (VALUES (DATE '2026-01-15', INTERVAL '999999' YEAR)) AS t(d, i)",
        "SELECT d + INTERVAL '300000' YEAR FROM (VALUES (TIMESTAMP '2026-01-15T00:00:00Z')) AS t(d)",
        "SELECT d + INTERVAL '2562047' HOUR FROM (VALUES (TIMESTAMP '294000-01-15T00:00:00Z')) AS t(d)",
        "SELECT INTERVAL '2147483647' MONTH + INTERVAL '1' MONTH",
        "SELECT date_bin(INTERVAL '0 seconds', TIMESTAMP '2026-01-15 00:00:00')",
        "SELECT to_timestamp(9223372036854775807)",
        "SELECT to_timestamp('2026-02-30', 'YYYY-MM-DD')",
        "SELECT to_char(now(), 'YYYY-MM-DD or so')",
        "SELECT to_char(now(), '%Y-MM')",
        "SELECT now() AT TIME ZONE 'Mars/Phobos'",
    ] {
        let refused = answer(statement).await.expect_err(statement);
        assert!(!refused.contains("panic"), "{statement}: {refused}");
    }
}
