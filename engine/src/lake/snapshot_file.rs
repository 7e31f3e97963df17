//! A data file as a version of its table has it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::{ScalarValue, Statistics};
use deltalake_core::kernel::Add;
use object_store::path::Path;

use super::location::Location;
use super::statistics;
use super::table::below;

/// A data file of a snapshot.
#[derive(Debug)]
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
    /// As readers see it.
    schema: SchemaRef,
    /// Statistics of its columns as the log has them, kilobytes a file, of which most are never asked for.
    logged: Option<String>,
    statistics: OnceLock<Arc<Statistics>>,
}

impl SnapshotFile {
    /// What the log says of a file of the table at `location`, which readers see with the columns of `schema`.
    pub(super) fn from_log(
        file: Add,
        location: &Location,
        schema: &SchemaRef,
        partition_columns: &[String],
    ) -> Result<Self, ArrowError> {
        let partition = partition_columns
            .iter()
            .map(|column| {
                let field = schema.field_with_name(column)?;
                let text = file.partition_values.get(column).and_then(Option::as_deref);
                Ok(statistics::partition_value(field.data_type(), text)
                    .unwrap_or(ScalarValue::Null))
            })
            .collect::<Result<_, ArrowError>>()?;
        Ok(Self {
            path: below(location, &file.path),
            relative: file.path,
            values: file.partition_values,
            size: u64::try_from(file.size).unwrap_or_default(),
            modified_ms: file.modification_time,
            partition,
            schema: Arc::clone(schema),
            logged: file.stats,
            statistics: OnceLock::new(),
        })
    }

    /// Of all columns in the order of the snapshot's schema. Read from the log's text when they are first asked for.
    pub(super) fn statistics(&self) -> &Arc<Statistics> {
        self.statistics.get_or_init(|| {
            let mut found = statistics::from_log(&self.schema, self.logged.as_deref(), self.size);
            let first = self.schema.fields().len() - self.partition.len();
            for (index, value) in self.partition.iter().enumerate() {
                found.column_statistics[first + index] =
                    statistics::of_partition(value, found.num_rows);
            }
            Arc::new(found)
        })
    }

    /// Number of its rows, where the log says it.
    pub(super) fn rows(&self) -> Option<u64> {
        statistics::rows_from_log(self.logged.as_deref()?)
    }
}
