//! Column statistics of a data file, in the three forms they travel in: Parquet footer, Delta log
//! (JSON, <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics>) and DataFusion.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use chrono::{DateTime, NaiveDate};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

const MICROSECONDS: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// Statistics as the Delta log stores them, read off the footer of a file just written.
pub(super) fn to_log(schema: &Schema, footer: &ParquetMetaData) -> Result<String, ParquetError> {
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

/// Statistics as the Delta log has them. Values stay text until their column's type is known: a number read without
/// its type would come within one unit in the last place only, and a file whose smallest value is its largest is
/// answered from here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Logged<'a> {
    num_records: Option<u64>,
    #[serde(borrow)]
    min_values: HashMap<String, &'a RawValue>,
    #[serde(borrow)]
    max_values: HashMap<String, &'a RawValue>,
    #[serde(borrow)]
    null_count: HashMap<String, &'a RawValue>,
}

/// Number of rows as the Delta log has it among the statistics of a file.
pub(super) fn rows_from_log(log: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rows {
        num_records: Option<u64>,
    }
    let rows: Rows = serde_json::from_str(log).ok()?;
    rows.num_records
}

/// Statistics of one file for DataFusion, columns in the order of `schema`. A file without
/// statistics, or with ones we do not understand, is only less well pruned.
pub(super) fn from_log(schema: &Schema, log: Option<&str>, size: u64) -> Statistics {
    let log: Logged<'_> = log
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let rows = log.num_records.map(|rows| rows as usize);
    Statistics {
        num_rows: exact(rows),
        total_byte_size: Precision::Inexact(size as usize),
        column_statistics: schema
            .fields()
            .iter()
            .map(|field| column(field.name(), field.data_type(), &log))
            .collect(),
    }
}

fn column(name: &str, data_type: &DataType, log: &Logged<'_>) -> ColumnStatistics {
    let nulls = log.null_count.get(name);
    let nulls = nulls.and_then(|nulls| nulls.get().parse().ok());
    let end = |values: &HashMap<_, &RawValue>| {
        let logged = values.get(name).map(|value| value.get());
        logged.map_or(Precision::Absent, |logged| bound(data_type, logged))
    };
    ColumnStatistics {
        null_count: exact(nulls),
        min_value: end(&log.min_values),
        max_value: end(&log.max_values),
        ..ColumnStatistics::new_unknown()
    }
}

/// Writers shorten longer texts to this many characters.
const TEXT_WHOLE_MAX: usize = 31;

/// One end of a column's values: exact when it is a value of the column, else only a bound. Files are pruned
/// by exact ends alone.
fn bound(data_type: &DataType, logged: &str) -> Precision<ScalarValue> {
    let Some(value) = from_json(data_type, logged) else {
        return Precision::Absent;
    };
    let text = text_of(logged).unwrap_or_default();
    let is_value = match (data_type, &value) {
        (DataType::Utf8, _) => text.chars().count() <= TEXT_WHOLE_MAX,
        // Some writers cut to milliseconds.
        (DataType::Timestamp(..), _) => text
            .split_once('.')
            .is_some_and(|(_, fraction)| fraction.len() == "123456Z".len()),
        // Parquet has a zero as -0.0 where it is the smallest and as +0.0 where it is the largest.
        (_, ScalarValue::Float64(Some(number))) => *number != 0.0,
        _ => true,
    };
    if is_value {
        Precision::Exact(value)
    } else {
        Precision::Inexact(value)
    }
}

/// Statistics of a partition column: every one of the file's `rows` has this value.
pub(super) fn of_partition(value: &ScalarValue, rows: Precision<usize>) -> ColumnStatistics {
    if value.is_null() {
        return ColumnStatistics {
            null_count: rows,
            ..ColumnStatistics::new_unknown()
        };
    }
    ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: Precision::Exact(value.clone()),
        max_value: Precision::Exact(value.clone()),
        ..ColumnStatistics::new_unknown()
    }
}

/// The value of a partition column from its text in the log or in a path.
pub(super) fn partition_value(data_type: &DataType, text: Option<&str>) -> Option<ScalarValue> {
    match text {
        None => ScalarValue::try_from(data_type).ok(),
        Some(text) => ScalarValue::try_from_string(text.to_owned(), data_type).ok(),
    }
}

fn exact(count: Option<usize>) -> Precision<usize> {
    count.map_or(Precision::Absent, Precision::Exact)
}

/// The smaller of the two ends over all row groups; a null where the type has no order here.
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
        // A row group whose column is all null has no ends; it widens nothing.
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
            let date = NaiveDate::from_epoch_days(*days)?;
            Some(json!(date.format("%Y-%m-%d").to_string()))
        }
        ScalarValue::TimestampMicrosecond(Some(micros), _) => {
            let instant = DateTime::from_timestamp_micros(*micros)?;
            Some(json!(instant.format(MICROSECONDS).to_string()))
        }
        _ => None,
    }
}

fn from_json(data_type: &DataType, logged: &str) -> Option<ScalarValue> {
    match data_type {
        DataType::Int32 => Some(ScalarValue::from(logged.parse::<i32>().ok()?)),
        DataType::Int64 => Some(ScalarValue::from(logged.parse::<i64>().ok()?)),
        DataType::Float64 => Some(ScalarValue::from(logged.parse::<f64>().ok()?)),
        DataType::Utf8 => Some(ScalarValue::from(text_of(logged)?)),
        DataType::Date32 => {
            let date = text_of(logged)?.parse::<NaiveDate>().ok()?;
            Some(ScalarValue::Date32(Some(date.to_epoch_days())))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instant = text_of(logged)?.parse::<DateTime<chrono::Utc>>().ok()?;
            let micros = Some(instant.timestamp_micros());
            Some(ScalarValue::TimestampMicrosecond(micros, zone.clone()))
        }
        _ => None,
    }
}

/// What stands between the quotes, if `logged` is a text.
fn text_of(logged: &str) -> Option<String> {
    serde_json::from_str(logged).ok()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::common::ScalarValue;
    use datafusion::common::stats::Precision;

    use super::{bound, from_log, of_partition, rows_from_log};

    #[test]
    fn a_zero_is_a_bound_and_other_numbers_are_values() {
        let zero = bound(&DataType::Float64, "-0.0");
        assert_eq!(zero.is_exact(), Some(false));
        let one = bound(&DataType::Float64, "1.5");
        assert_eq!(one, Precision::Exact(ScalarValue::from(1.5)));
    }

    #[test]
    fn every_number_comes_back_to_its_last_bit() {
        let schema = Schema::new(vec![Field::new("x", DataType::Float64, true)]);
        let mut number = 0.1_f64;
        for _ in 0..10_000 {
            number = (number * 1.618_033_988_749_895 + 0.317).rem_euclid(97.0);
            let log = format!(r#"{{"numRecords":1,"minValues":{{"x":{number}}},"other":[1]}}"#);
            let found = from_log(&schema, Some(&log), 1);
            let expected = Precision::Exact(ScalarValue::from(number));
            assert_eq!(found.column_statistics[0].min_value, expected);
        }
    }

    #[test]
    fn what_is_not_of_the_type_is_no_end() {
        for (data_type, logged) in [
            (DataType::Utf8, "null"),
            (DataType::Utf8, "1"),
            (DataType::Float64, "\"NaN\""),
            (DataType::Int32, "3000000000"),
            (DataType::Int64, "1.5"),
            (DataType::Date32, "null"),
        ] {
            assert_eq!(bound(&data_type, logged), Precision::Absent, "{logged}");
        }
    }

    #[test]
    fn what_a_writer_may_have_shortened_is_a_bound() {
        let is_exact = |data_type: DataType, value: &str| {
            bound(&data_type, &format!("\"{value}\"")).is_exact()
        };
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(
            is_exact(instant.clone(), "2026-01-15T00:00:00.123456Z"),
            Some(true)
        );
        assert_eq!(is_exact(instant, "2026-01-15T00:00:00.123Z"), Some(false));
        assert_eq!(is_exact(DataType::Utf8, "Paris"), Some(true));
        assert_eq!(is_exact(DataType::Utf8, &"x".repeat(32)), Some(false));
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
}
