//! A data file as a version of its table has it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use datafusion::common::{ScalarValue, Statistics};
use deltalake_core::kernel::Add;
use object_store::path::Path;

use super::location::Location;
use super::statistics;
use super::table::below;

/// A data file of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFile {
    /// On the store, not below the table.
    pub(super) path: Path,
    /// Below the table, as the log has it.
    pub(super) relative: String,
    /// Of the partition columns, as the log has them.
    pub(super) values: HashMap<String, Option<String>>,
    pub(super) size: u64,
    pub(super) modified_ms: i64,
    pub(super) partition: Vec<ScalarValue>,
    /// Of all columns in the order of the snapshot's schema.
    pub(super) statistics: Arc<Statistics>,
}

impl SnapshotFile {
    /// What the log says of a file of the table at `location`, which readers see with the columns of `schema`.
    pub(super) fn from_log(
        file: Add,
        location: &Location,
        schema: &Schema,
        partition_columns: &[String],
    ) -> Result<Self, ArrowError> {
        let partition: Vec<_> = partition_columns
            .iter()
            .map(|column| {
                let field = schema.field_with_name(column)?;
                let text = file.partition_values.get(column).and_then(Option::as_deref);
                Ok(statistics::partition_value(field.data_type(), text)
                    .unwrap_or(ScalarValue::Null))
            })
            .collect::<Result<_, ArrowError>>()?;
        let size = u64::try_from(file.size).unwrap_or_default();
        let mut statistics = statistics::from_log(schema, file.stats.as_deref(), size);
        let first = schema.fields().len() - partition.len();
        for (index, value) in partition.iter().enumerate() {
            statistics.column_statistics[first + index] =
                statistics::of_partition(value, statistics.num_rows);
        }
        Ok(Self {
            path: below(location, &file.path),
            relative: file.path,
            values: file.partition_values,
            size,
            modified_ms: file.modification_time,
            partition,
            statistics: Arc::new(statistics),
        })
    }
}
