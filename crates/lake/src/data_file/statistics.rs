//! Column statistics of a data file in three forms: Parquet footer, Delta log (JSON,
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics>) and DataFusion.
//!
//! Statistics serve two purposes with different requirements. Results without a scan (`min(id)`,
//! `count(*)`, a constant in place of a column) need exact statistics. Pruning of files needs
//! bounds that no value exceeds. A bound that is present therefore holds for all values, NaN
//! included; it is exact when it is also a value of the column; a bound that proves neither is
//! absent.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

const MICROSECONDS: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// Tag of a file whose writer checked for NaN: bounds of floats hold for all values, and a column
/// with NaN has no bounds. Parquet and Delta statistics silently ignore NaN, which is larger than
/// any number.
const NAN_TAG: &str = "isobar.nanChecked";

/// The tags of a file that Isobar writes.
pub(crate) fn tags() -> HashMap<String, Option<String>> {
    HashMap::from([(NAN_TAG.to_owned(), Some("true".to_owned()))])
}

/// Whether the writer of a file with `tags` checked for NaN.
pub(crate) fn is_nan_checked(tags: Option<&HashMap<String, Option<String>>>) -> bool {
    let tag = tags.and_then(|tags| tags.get(NAN_TAG));
    tag.is_some_and(|value| value.as_deref() == Some("true"))
}

/// Statistics as the Delta log stores them, from the footer of a new file. `with_nan` are the
/// columns that have NaN, see [`with_nan`].
pub(crate) fn to_log(
    schema: &Schema,
    footer: &ParquetMetaData,
    with_nan: &BTreeSet<String>,
) -> Result<String, ParquetError> {
    let (mut mins, mut maxs, mut nulls) = (Map::new(), Map::new(), Map::new());
    let parquet_schema = footer.file_metadata().schema_descr();
    for field in schema.fields() {
        let converter = StatisticsConverter::try_new(field.name(), schema, parquet_schema)?;
        let groups = footer.row_groups();
        let counts = converter.row_group_null_counts(groups)?;
        if counts.iter().all(|count| count.is_some()) {
            let total: u64 = counts.iter().flatten().sum();
            nulls.insert(field.name().clone(), json!(total));
        }
        if with_nan.contains(field.name()) {
            continue;
        }
        let lowest = smallest(&converter.row_group_mins(groups)?);
        let highest = largest(&converter.row_group_maxes(groups)?);
        if let (Some(lowest), Some(highest)) = (to_json(&lowest), to_json(&highest)) {
            mins.insert(field.name().clone(), lowest);
            maxs.insert(field.name().clone(), highest);
        }
    }
    Ok(json!({
        "numRecords": footer.file_metadata().num_rows(),
        "minValues": mins,
        "maxValues": maxs,
        "nullCount": nulls,
    })
    .to_string())
}

/// Names of the columns of `batch` that have NaN.
pub(crate) fn with_nan(batch: &RecordBatch) -> impl Iterator<Item = String> {
    let holds_nan = |values: &ArrayRef| match values.data_type() {
        DataType::Float32 => {
            let mut values = values.as_primitive::<Float32Type>().iter().flatten();
            values.any(f32::is_nan)
        }
        DataType::Float64 => {
            let mut values = values.as_primitive::<Float64Type>().iter().flatten();
            values.any(f64::is_nan)
        }
        _ => false,
    };
    let schema = batch.schema();
    let named = schema.fields().iter().zip(batch.columns());
    let found: Vec<_> = named
        .filter(|(_, values)| holds_nan(values))
        .map(|(field, _)| field.name().clone())
        .collect();
    found.into_iter()
}

/// Statistics as the Delta log has them. Values stay text until the type of their column is known:
/// a number parsed without its type could be off by one unit in the last place, and queries are
/// answered from these values.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Logged<'a> {
    num_records: Option<u64>,
    /// Whether bounds and counts match the visible rows. False when rows were deleted since.
    tight_bounds: Option<bool>,
    #[serde(borrow)]
    min_values: HashMap<String, &'a RawValue>,
    #[serde(borrow)]
    max_values: HashMap<String, &'a RawValue>,
    #[serde(borrow)]
    null_count: HashMap<String, &'a RawValue>,
}

/// Number of rows in the statistics that the Delta log has of a file.
pub(crate) fn rows_from_log(log: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rows {
        num_records: Option<u64>,
    }
    let rows: Rows = serde_json::from_str(log).ok()?;
    rows.num_records
}

/// Properties of a file that decide how its statistics are read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// Size in bytes.
    pub(crate) size: u64,
    /// Whether its writer checked for NaN, see [`tags`].
    pub(crate) nan_checked: bool,
    /// Whether files of its table may have deleted rows. Bounds are then exact only if the log says
    /// so: the library drops `tightBounds` when a checkpoint has statistics as columns.
    pub(crate) may_be_wide: bool,
}

/// Statistics of one file for DataFusion, columns in the order of `schema`. A file with missing or
/// unreadable statistics is pruned less often, and still read correctly.
pub(crate) fn from_log(schema: &Schema, log: Option<&str>, known: Known) -> Statistics {
    let log: Logged<'_> = log
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let rows = log.num_records.map(|rows| rows as usize);
    Statistics {
        num_rows: exact(rows),
        total_byte_size: Precision::Inexact(known.size as usize),
        column_statistics: schema
            .fields()
            .iter()
            .map(|field| column(field, &log, known))
            .collect(),
    }
}

/// Metadata of a column whose type was widened: statistics of older files have the previous type.
const TYPE_CHANGES: &str = "delta.typeChanges";

fn column(field: &Field, log: &Logged<'_>, known: Known) -> ColumnStatistics {
    let is_tight = log.tight_bounds.unwrap_or(!known.may_be_wide)
        && !field.metadata().contains_key(TYPE_CHANGES);
    let nulls = log.null_count.get(field.name());
    let nulls: Option<u64> = nulls.and_then(|nulls| nulls.get().parse().ok());
    let null_count = match nulls {
        Some(nulls) if is_tight => Precision::Exact(nulls as usize),
        // "No nulls" and "all nulls" also hold for any subset of the rows.
        Some(nulls) if nulls == 0 || Some(nulls) == log.num_records => {
            Precision::Inexact(nulls as usize)
        }
        Some(_) | None => Precision::Absent,
    };
    let may_hide_nan = field.data_type().is_floating() && !known.nan_checked;
    let end = |values: &HashMap<String, &RawValue>, end: End| {
        let logged = values.get(field.name()).filter(|_| !may_hide_nan);
        let found = logged.map_or(Precision::Absent, |logged| {
            bound(field.data_type(), logged.get(), end)
        });
        if is_tight { found } else { found.to_inexact() }
    };
    ColumnStatistics {
        null_count,
        min_value: end(&log.min_values, End::Min),
        max_value: end(&log.max_values, End::Max),
        ..ColumnStatistics::new_unknown()
    }
}

/// A bound that no value of the column exceeds; exact when it is itself a value.
fn bound(data_type: &DataType, logged: &str, end: End) -> Precision<ScalarValue> {
    let found = match data_type {
        DataType::Int8 => logged.parse::<i8>().ok().map(ScalarValue::from),
        DataType::Int16 => logged.parse::<i16>().ok().map(ScalarValue::from),
        DataType::Int32 => logged.parse::<i32>().ok().map(ScalarValue::from),
        DataType::Int64 => logged.parse::<i64>().ok().map(ScalarValue::from),
        DataType::Date32 => text_of(logged)
            .and_then(|text| text.parse::<NaiveDate>().ok())
            .map(|date| ScalarValue::Date32(Some(date.to_epoch_days()))),
        DataType::Float32 | DataType::Float64 => {
            return inexact(
                number_of(logged, end)
                    .and_then(|number| ScalarValue::Float64(Some(number)).cast_to(data_type).ok()),
            );
        }
        DataType::Utf8 => return inexact(text_of(logged).map(|text| of_text(text, end))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instant = text_of(logged).and_then(|text| instant_of(&text, zone.is_some(), end));
            return instant.map_or(Precision::Absent, |instant| {
                instant.map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), zone.clone()))
            });
        }
        _ => None,
    };
    found.map_or(Precision::Absent, Precision::Exact)
}

fn inexact(found: Option<ScalarValue>) -> Precision<ScalarValue> {
    found.map_or(Precision::Absent, Precision::Inexact)
}

/// A logged zero may be -0.0 or +0.0. As Parquet does, use -0.0 for a minimum and +0.0 for a
/// maximum.
fn number_of(logged: &str, end: End) -> Option<f64> {
    let number: f64 = logged.parse().ok()?;
    let zero = match end {
        End::Min => -0.0,
        End::Max => 0.0,
    };
    Some(if number == 0.0 { zero } else { number })
}

/// Writers truncate texts to different lengths without a note, so a text is never known to be a
/// value. The last character of a maximum may be a substitute that sorts after the truncated rest;
/// the substitutes of older writers sort before an emoji, so they are replaced by the largest
/// character.
fn of_text(mut text: String, end: End) -> ScalarValue {
    if matches!(end, End::Max) && text.ends_with(['\u{fffd}', '\u{ffff}']) {
        text.pop();
        text.push(char::MAX);
    }
    ScalarValue::Utf8(Some(text))
}

/// Digits of the fraction of a second in an instant of whole microseconds.
const MICROSECOND_DIGITS: usize = 6;

/// Parses microseconds since the epoch. Many writers truncate to milliseconds: with fewer digits
/// the value lies within one unit of the last digit. A text without an offset is a local time and
/// no instant.
fn instant_of(text: &str, has_zone: bool, end: End) -> Option<Precision<i64>> {
    let micros = if has_zone {
        text.parse::<DateTime<chrono::Utc>>()
            .ok()?
            .timestamp_micros()
    } else {
        let local = text.strip_suffix('Z').unwrap_or(text);
        local
            .parse::<NaiveDateTime>()
            .ok()?
            .and_utc()
            .timestamp_micros()
    };
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits == MICROSECOND_DIGITS {
        return Some(Precision::Exact(micros));
    }
    let unit = u32::try_from(MICROSECOND_DIGITS.saturating_sub(digits)).ok()?;
    let within = 10_i64.pow(unit);
    Some(Precision::Inexact(match end {
        End::Min => micros.checked_sub(within)?,
        End::Max => micros.checked_add(within)?,
    }))
}

/// Statistics of a partition column: all `rows` of the file have this value.
pub(crate) fn of_partition(value: &ScalarValue, rows: Precision<usize>) -> ColumnStatistics {
    if value.is_null() {
        return ColumnStatistics {
            null_count: rows,
            ..ColumnStatistics::new_unknown()
        };
    }
    let ends = match value {
        // Aggregates order NaN and zeros differently.
        ScalarValue::Float32(_) | ScalarValue::Float64(_) => Precision::Absent,
        value => Precision::Exact(value.clone()),
    };
    ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: ends.clone(),
        max_value: ends,
        ..ColumnStatistics::new_unknown()
    }
}

/// Parses the value of a partition column from its text in the log or in a path. An empty text is
/// null, as in the Delta protocol.
pub(crate) fn partition_value(data_type: &DataType, text: Option<&str>) -> Option<ScalarValue> {
    match text {
        None | Some("") => ScalarValue::try_from(data_type).ok(),
        Some(text) => ScalarValue::try_from_string(text.to_owned(), data_type).ok(),
    }
}

fn exact(count: Option<usize>) -> Precision<usize> {
    count.map_or(Precision::Absent, Precision::Exact)
}

/// The smallest value over all row groups; null for a type without an order here.
fn smallest(values: &ArrayRef) -> ScalarValue {
    extreme(values, End::Min)
}

fn largest(values: &ArrayRef) -> ScalarValue {
    extreme(values, End::Max)
}

#[derive(Clone, Copy)]
enum End {
    Min,
    Max,
}

fn extreme(values: &ArrayRef, end: End) -> ScalarValue {
    let mut best = ScalarValue::Null;
    for row in 0..values.len() {
        let Ok(value) = ScalarValue::try_from_array(values, row) else {
            return ScalarValue::Null;
        };
        // A row group whose column is all null has no bounds.
        if value.is_null() {
            continue;
        }
        let better = match (best.is_null(), value.partial_cmp(&best), end) {
            (true, ..) => true,
            (false, Some(order), End::Min) => order.is_lt(),
            (false, Some(order), End::Max) => order.is_gt(),
            (false, None, _) => return ScalarValue::Null,
        };
        if better {
            best = value;
        }
    }
    best
}

fn to_json(value: &ScalarValue) -> Option<Value> {
    match value {
        ScalarValue::Int32(Some(value)) => Some(json!(value)),
        ScalarValue::Int64(Some(value)) => Some(json!(value)),
        ScalarValue::Float64(Some(value)) if value.is_finite() => Some(json!(value)),
        ScalarValue::Utf8(Some(value)) => Some(json!(value)),
        ScalarValue::Date32(Some(days)) => {
            let date = NaiveDate::from_epoch_days(*days).filter(has_four_digits)?;
            Some(json!(date.format("%Y-%m-%d").to_string()))
        }
        ScalarValue::TimestampMicrosecond(Some(micros), _) => {
            let instant = DateTime::from_timestamp_micros(*micros).filter(has_four_digits)?;
            Some(json!(instant.format(MICROSECONDS).to_string()))
        }
        _ => None,
    }
}

/// Whether the year of `date` has four digits, which is all that other readers of the log parse.
fn has_four_digits(date: &impl Datelike) -> bool {
    (1..=9999).contains(&date.year())
}

/// The content of `logged` if it is a JSON string.
fn text_of(logged: &str) -> Option<String> {
    serde_json::from_str(logged).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::Float64Array;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use arrow::record_batch::RecordBatch;
    use chrono::NaiveDate;
    use datafusion::common::ScalarValue;
    use datafusion::common::stats::Precision;
    use serde_json::json;

    use super::{
        End, Known, TYPE_CHANGES, bound, from_log, of_partition, partition_value, rows_from_log,
        to_json, with_nan,
    };

    const NAN_CHECKED: Known = Known {
        size: 1,
        nan_checked: true,
        may_be_wide: false,
    };

    fn schema(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("x", data_type, true)])
    }

    fn instant() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }

    #[test]
    fn ends_with_years_of_more_than_four_digits_are_left_out() {
        let date = |text: &str| {
            ScalarValue::Date32(Some(
                text.parse::<NaiveDate>().expect("a date").to_epoch_days(),
            ))
        };
        assert_eq!(to_json(&date("9999-12-31")), Some(json!("9999-12-31")));
        assert_eq!(to_json(&date("+10000-01-01")), None);
        let year_10000 = ScalarValue::TimestampMicrosecond(Some(253_402_300_800_000_000), None);
        assert_eq!(to_json(&year_10000), None);
    }

    #[test]
    fn bounds_of_floats_need_a_nan_check() {
        let log =
            r#"{"numRecords":2,"minValues":{"x":1.5},"maxValues":{"x":0},"nullCount":{"x":0}}"#;
        for data_type in [DataType::Float32, DataType::Float64] {
            let schema = schema(data_type);
            let column = |known| from_log(&schema, Some(log), known).column_statistics[0].clone();
            let unknown = column(Known::default());
            assert_eq!(unknown.min_value, Precision::Absent);
            assert_eq!(unknown.max_value, Precision::Absent);
            assert_eq!(column(NAN_CHECKED).min_value.is_exact(), Some(false));
        }
    }

    #[test]
    fn zero_bound_is_the_outer_of_the_two_zeros() {
        let check = |logged: &str, end: End, expected: f64| {
            let Precision::Inexact(ScalarValue::Float64(Some(found))) =
                bound(&DataType::Float64, logged, end)
            else {
                panic!("no inexact end");
            };
            assert_eq!(found.to_bits(), expected.to_bits(), "{logged}");
        };
        check("0.0", End::Min, -0.0);
        check("-0.0", End::Max, 0.0);
        check("-0.5", End::Max, -0.5);
    }

    #[test]
    fn every_number_comes_back_to_its_last_bit() {
        let schema = schema(DataType::Float64);
        let mut number = 0.1_f64;
        for _ in 0..10_000 {
            number = (number * 1.618_033_988_749_895 + 0.317).rem_euclid(97.0);
            let log = format!(r#"{{"numRecords":1,"minValues":{{"x":{number}}},"other":[1]}}"#);
            let found = from_log(&schema, Some(&log), NAN_CHECKED);
            let expected = Precision::Inexact(ScalarValue::from(number));
            assert_eq!(found.column_statistics[0].min_value, expected);
        }
    }

    #[test]
    fn text_of_another_type_is_no_bound() {
        for (data_type, logged) in [
            (DataType::Utf8, "null"),
            (DataType::Utf8, "1"),
            (DataType::Float64, "\"NaN\""),
            (DataType::Int32, "3000000000"),
            (DataType::Int64, "1.5"),
            (DataType::Int64, r#"{"y":1}"#),
            (DataType::Date32, "null"),
            (instant(), "\"2026-01-15T00:00:00.123456\""),
            (DataType::Decimal128(10, 2), "1.5"),
            (
                DataType::Struct(vec![Field::new("y", DataType::Int64, true)].into()),
                r#"{"y":1}"#,
            ),
        ] {
            let found = bound(&data_type, logged, End::Min);
            assert_eq!(found, Precision::Absent, "{logged}");
        }
    }

    #[test]
    fn integers_and_days_and_whole_microseconds_are_values() {
        let check = |data_type: DataType, logged: &str, expected: bool| {
            let found = bound(&data_type, logged, End::Max).is_exact();
            assert_eq!(found, Some(expected), "{logged}");
        };
        check(DataType::Int64, "9007199254740993", true);
        check(DataType::Int8, "-128", true);
        check(DataType::Date32, "\"2026-01-15\"", true);
        check(instant(), "\"2026-01-15T00:00:00.123456Z\"", true);
        check(instant(), "\"2026-01-15T00:00:00.123Z\"", false);
        check(instant(), "\"2026-01-15T00:00:00Z\"", false);
        check(DataType::Utf8, "\"Paris\"", false);
    }

    #[test]
    fn truncated_instant_is_bounded_by_one_unit() {
        let micros = |logged: &str, end: End| match bound(&instant(), logged, end) {
            Precision::Inexact(ScalarValue::TimestampMicrosecond(Some(micros), _)) => micros,
            other => panic!("{other:?}"),
        };
        assert_eq!(micros("\"1970-01-01T00:00:00.123Z\"", End::Min), 122_000);
        assert_eq!(micros("\"1970-01-01T00:00:00.123Z\"", End::Max), 124_000);
        assert_eq!(micros("\"1970-01-01T01:00:00+01:00\"", End::Max), 1_000_000);
    }

    #[test]
    fn truncated_maximum_sorts_after_every_text_with_its_prefix() {
        let largest = |logged: &str| match bound(&DataType::Utf8, logged, End::Max) {
            Precision::Inexact(ScalarValue::Utf8(Some(text))) => text,
            other => panic!("{other:?}"),
        };
        assert!(largest("\"abc\u{ffff}\"").as_str() > "abc\u{1f600}");
        assert!(largest("\"abc\u{fffd}\"").as_str() > "abc\u{1f600}");
        assert_eq!(largest("\"abc\""), "abc");
        assert_eq!(largest(r#""\ud842\udfb7""#), "\u{20bb7}");
    }

    #[test]
    fn wide_bounds_and_widened_types_prove_no_answer() {
        let log = |tight: &str| {
            format!(
                r#"{{"numRecords":3,{tight}"minValues":{{"x":1}},"maxValues":{{"x":9}},"nullCount":{{"x":1}}}}"#
            )
        };
        let check = |log: &str, schema: &Schema, known: Known, expected: bool| {
            let found = from_log(schema, Some(log), known);
            let column = &found.column_statistics[0];
            assert_eq!(column.min_value.is_exact(), Some(expected), "{log}");
            assert_eq!(
                column.null_count.is_exact(),
                expected.then_some(true),
                "{log}"
            );
            assert_eq!(found.num_rows, Precision::Exact(3));
        };
        let plain = schema(DataType::Int64);
        let wide = Known {
            may_be_wide: true,
            ..Known::default()
        };
        check(&log(""), &plain, Known::default(), true);
        check(&log(""), &plain, wide, false);
        check(&log(r#""tightBounds":true,"#), &plain, wide, true);
        check(
            &log(r#""tightBounds":false,"#),
            &plain,
            Known::default(),
            false,
        );
        let changes = HashMap::from([(TYPE_CHANGES.to_owned(), "[]".to_owned())]);
        let widened = Schema::new(vec![plain.field(0).clone().with_metadata(changes)]);
        check(&log(""), &widened, Known::default(), false);
    }

    #[test]
    fn no_nulls_and_nulls_alone_hold_for_wide_bounds_too() {
        let check = |nulls: u64, expected: Precision<usize>| {
            let log =
                format!(r#"{{"numRecords":3,"tightBounds":false,"nullCount":{{"x":{nulls}}}}}"#);
            let found = from_log(&schema(DataType::Int64), Some(&log), Known::default());
            assert_eq!(found.column_statistics[0].null_count, expected, "{nulls}");
        };
        check(0, Precision::Inexact(0));
        check(2, Precision::Absent);
        check(3, Precision::Inexact(3));
    }

    #[test]
    fn columns_with_nan_are_found() {
        let columns = RecordBatch::try_from_iter([
            (
                "a",
                Arc::new(Float64Array::from(vec![Some(1.0), None])) as _,
            ),
            ("b", Arc::new(Float64Array::from(vec![f64::NAN, 1.0])) as _),
        ]);
        let found: Vec<_> = with_nan(&columns.expect("a batch")).collect();
        assert_eq!(found, ["b"]);
    }

    #[test]
    fn rows_are_counted_where_the_log_says_how_many() {
        let log = r#"{"maxValues":{"x":"\"y"},"nullCount":{"x":0},"numRecords":3}"#;
        assert_eq!(rows_from_log(log), Some(3));
        assert_eq!(rows_from_log(r#"{"numRecords":null}"#), None);
        assert_eq!(rows_from_log("{}"), None);
        assert_eq!(rows_from_log("numRecords"), None);
    }

    #[test]
    fn rows_without_a_partition_value_are_nulls() {
        let found = of_partition(&ScalarValue::Date32(None), Precision::Exact(7));
        assert_eq!(found.null_count, Precision::Exact(7));
        assert_eq!(found.min_value, Precision::Absent);
    }

    #[test]
    fn an_empty_partition_value_is_null() {
        for data_type in [DataType::Utf8, DataType::Int32, DataType::Date32, instant()] {
            for text in [None, Some("")] {
                let found = partition_value(&data_type, text).expect("a value");
                assert!(found.is_null(), "{data_type}");
                assert_eq!(found.data_type(), data_type);
            }
        }
        assert_eq!(partition_value(&DataType::Int32, Some("x")), None);
    }
}
