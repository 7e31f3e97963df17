//! Column statistics of a data file, in the three forms they travel in: Parquet footer, Delta log
//! (JSON, <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics>) and DataFusion.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use chrono::{DateTime, NaiveDate};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
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

/// Statistics of one file for DataFusion, columns in the order of `schema`. A file without
/// statistics, or with ones we do not understand, is only less well pruned.
pub(super) fn from_log(schema: &Schema, log: Option<&str>, size: u64) -> Statistics {
    let log: Value = log
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null);
    let rows = log["numRecords"].as_u64().map(|rows| rows as usize);
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

fn column(name: &str, data_type: &DataType, log: &Value) -> ColumnStatistics {
    let nulls = log["nullCount"][name].as_u64().map(|nulls| nulls as usize);
    ColumnStatistics {
        null_count: exact(nulls),
        min_value: bound(data_type, &log["minValues"][name]),
        max_value: bound(data_type, &log["maxValues"][name]),
        ..ColumnStatistics::new_unknown()
    }
}

/// Writers shorten longer texts to this many characters.
const TEXT_WHOLE_MAX: usize = 31;

/// One end of a column's values: exact when it is a value of the column, else only a bound. Files are pruned
/// by exact ends alone.
fn bound(data_type: &DataType, logged: &Value) -> Precision<ScalarValue> {
    let Some(value) = from_json(data_type, logged) else {
        return Precision::Absent;
    };
    let text = logged.as_str().unwrap_or_default();
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

fn from_json(data_type: &DataType, value: &Value) -> Option<ScalarValue> {
    match data_type {
        DataType::Int32 => Some(ScalarValue::from(i32::try_from(value.as_i64()?).ok()?)),
        DataType::Int64 => Some(ScalarValue::from(value.as_i64()?)),
        DataType::Float64 => Some(ScalarValue::from(value.as_f64()?)),
        DataType::Utf8 => Some(ScalarValue::from(value.as_str()?)),
        DataType::Date32 => {
            let date = value.as_str()?.parse::<NaiveDate>().ok()?;
            Some(ScalarValue::Date32(Some(date.to_epoch_days())))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instant = value.as_str()?.parse::<DateTime<chrono::Utc>>().ok()?;
            let micros = Some(instant.timestamp_micros());
            Some(ScalarValue::TimestampMicrosecond(micros, zone.clone()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};
    use datafusion::common::ScalarValue;
    use datafusion::common::stats::Precision;
    use serde_json::json;

    use super::{column, of_partition};

    #[test]
    fn a_zero_is_a_bound_and_other_numbers_are_values() {
        let log = json!({ "minValues": { "x": -0.0 }, "maxValues": { "x": 1.5 } });
        let found = column("x", &DataType::Float64, &log);
        assert_eq!(found.min_value.is_exact(), Some(false));
        assert_eq!(found.max_value, Precision::Exact(ScalarValue::from(1.5)));
    }

    #[test]
    fn what_a_writer_may_have_shortened_is_a_bound() {
        let is_exact = |data_type: DataType, value: &str| {
            let log = json!({ "minValues": { "x": value } });
            column("x", &data_type, &log).min_value.is_exact()
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
    fn rows_without_a_partition_value_are_nulls() {
        let found = of_partition(&ScalarValue::Date32(None), Precision::Exact(7));
        assert_eq!(found.null_count, Precision::Exact(7));
        assert_eq!(found.min_value, Precision::Absent);
    }
}
