//! Partitions of a table: their keys, their directories, and rows split by them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::{SortColumn, cast, lexsort_to_indices, partition, take_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use object_store::path::{Path, PathPart};

use crate::store::Location;

/// Directory name of a null partition value, as in Hive and Delta.
pub(crate) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// A batch with more runs of equal partition values than this is sorted before it is split.
const RUNS_MAX: usize = 64;

/// A partition of a table: the names of its partition columns, each with a value as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey(pub(crate) Vec<(String, String)>);

impl PartitionKey {
    /// The partition in which `column` has `value`; without a column, the whole table.
    pub fn of(column: Option<&str>, value: Option<&ScalarValue>) -> Self {
        let text = |value: &ScalarValue| {
            if value.is_null() {
                NULL_PARTITION.to_owned()
            } else {
                value.to_string()
            }
        };
        let pair = column.zip(value);
        Self(
            pair.map(|(column, value)| (column.to_owned(), text(value)))
                .into_iter()
                .collect(),
        )
    }

    /// The value of the first partition column.
    pub fn first(&self) -> &str {
        self.0.first().map_or("", |(_, value)| value)
    }
}

/// Splits `batches` by their partition columns and drops these columns from the batches.
///
/// Rows keep their order within a partition.
pub fn split(
    batches: &[RecordBatch],
    partition_columns: &[String],
) -> Result<BTreeMap<PartitionKey, Vec<RecordBatch>>, ArrowError> {
    let mut parts: BTreeMap<PartitionKey, Vec<RecordBatch>> = BTreeMap::new();
    if partition_columns.is_empty() {
        parts.insert(PartitionKey(Vec::new()), batches.to_vec());
        return Ok(parts);
    }
    for batch in batches {
        split_batch(batch, partition_columns, &mut parts)?;
    }
    Ok(parts)
}

fn split_batch(
    batch: &RecordBatch,
    partition_columns: &[String],
    parts: &mut BTreeMap<PartitionKey, Vec<RecordBatch>>,
) -> Result<(), ArrowError> {
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let schema = batch.schema();
    let indices: Vec<usize> = partition_columns
        .iter()
        .map(|name| schema.index_of(name))
        .collect::<Result<_, _>>()?;
    let columns = |batch: &RecordBatch| -> Vec<_> {
        indices
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect()
    };
    let mut batch = batch.clone();
    let mut runs = partition(&columns(&batch))?.ranges();
    // Rows of one partition then form one run, and one slice in place of many.
    if runs.len() > RUNS_MAX {
        let keys: Vec<_> = columns(&batch)
            .into_iter()
            .map(|values| SortColumn {
                values,
                options: None,
            })
            .collect();
        batch = take_record_batch(&batch, &lexsort_to_indices(&keys, None)?)?;
        runs = partition(&columns(&batch))?.ranges();
    }
    let texts = columns(&batch)
        .iter()
        .map(|column| cast(column, &DataType::Utf8))
        .collect::<Result<Vec<_>, _>>()?;
    let kept: Vec<usize> = (0..schema.fields().len())
        .filter(|index| !indices.contains(index))
        .collect();
    let rest = batch.project(&kept)?;
    for run in runs {
        let values = texts.iter().map(|text| {
            let text = text.as_string::<i32>();
            if text.is_null(run.start) {
                NULL_PARTITION.to_owned()
            } else {
                text.value(run.start).to_owned()
            }
        });
        let key = PartitionKey(partition_columns.iter().cloned().zip(values).collect());
        let rows = rest.slice(run.start, run.end - run.start);
        parts.entry(key).or_default().push(rows);
    }
    Ok(())
}

/// `value` as a directory name: characters that HDFS, URLs or Hive would misread become `%XX`.
pub(crate) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b' ') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The path on the store of `relative`, an escaped path below `table`.
pub(crate) fn below(table: &Location, relative: &str) -> Path {
    let parts = relative
        .split('/')
        .map(|part| PathPart::parse(part).unwrap_or_else(|_| PathPart::from(part)));
    // Joined part by part: `Path` would escape a whole text once more, and the result would differ
    // from the path in the log.
    table.path().parts().chain(parts).collect()
}
