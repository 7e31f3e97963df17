//! A data file of one version of a table.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use deltalake_core::kernel::Add;
use object_store::path::Path;

use crate::data_file::statistics::{self, Known};
use crate::partition::below;
use crate::store::Location;

/// Properties that all data files of a table share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    /// Where the table lies.
    pub(crate) location: &'a Location,
    /// All columns, as readers see them.
    pub(crate) schema: &'a SchemaRef,
    pub(crate) partition_columns: &'a [String],
    /// Whether deletion vectors may hide rows, so that statistics may be wider than the visible
    /// rows.
    pub(crate) may_be_wide: bool,
}

/// A data file of a snapshot.
#[derive(Debug)]
pub struct SnapshotFile {
    /// Path on the store.
    pub path: Path,
    /// Path below the table, as in the log.
    pub relative: String,
    /// Values of the partition columns, as in the log.
    pub values: HashMap<String, Option<String>>,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, milliseconds since the epoch.
    pub modified_ms: i64,
    /// Typed values of the partition columns, in their order.
    pub partition: Vec<ScalarValue>,
    /// All columns of the table, as readers see them.
    schema: SchemaRef,
    known: Known,
    /// Statistics of its columns as text, from the log: kilobytes for each file, parsed on first
    /// use.
    logged: Option<String>,
    statistics: OnceLock<Arc<Statistics>>,
}

impl SnapshotFile {
    /// The data file of a log entry of `table`.
    ///
    /// # Errors
    /// When it lies outside the table's directory, or a partition value does not fit the type of
    /// its column.
    pub(crate) fn from_log(file: Add, table: &Layout<'_>) -> Result<Self, String> {
        let Layout {
            location, schema, ..
        } = *table;
        if is_elsewhere(&file.path) {
            return Err(format!(
                "data file {} lies outside of the table's directory (a shallow clone has such files); copy its rows with the tool that made it",
                file.path
            ));
        }
        let partition = table
            .partition_columns
            .iter()
            .map(|column| partition_value(&file, schema, column))
            .collect::<Result<_, String>>()?;
        let size = u64::try_from(file.size).unwrap_or_default();
        Ok(Self {
            path: below(location, &file.path),
            relative: file.path,
            values: file.partition_values,
            size,
            known: Known {
                size,
                nan_checked: statistics::is_nan_checked(file.tags.as_ref()),
                may_be_wide: table.may_be_wide,
            },
            modified_ms: file.modification_time,
            partition,
            schema: Arc::clone(schema),
            logged: file.stats,
            statistics: OnceLock::new(),
        })
    }

    /// Statistics of all columns in the order of the snapshot's schema, in the types of scans. The
    /// first call parses the text of the log.
    pub fn statistics(&self) -> &Arc<Statistics> {
        self.statistics.get_or_init(|| {
            let mut found = statistics::from_log(&self.schema, self.logged.as_deref(), self.known);
            let first = self.schema.fields().len() - self.partition.len();
            for column in &mut found.column_statistics[..first] {
                for end in [&mut column.min_value, &mut column.max_value] {
                    *end = as_scanned(end);
                }
            }
            for (index, value) in self.partition.iter().enumerate() {
                found.column_statistics[first + index] =
                    statistics::of_partition(value, found.num_rows);
            }
            Arc::new(found)
        })
    }

    /// Number of rows, if the log has it.
    pub fn rows(&self) -> Option<u64> {
        statistics::rows_from_log(self.logged.as_deref()?)
    }
}

/// Scans read texts of data files as views, see `LakeTable` of the engine.
fn as_scanned(end: &Precision<ScalarValue>) -> Precision<ScalarValue> {
    let viewed = |value: ScalarValue| match value {
        ScalarValue::Utf8(text) => ScalarValue::Utf8View(text),
        other => other,
    };
    end.clone().map(viewed)
}

/// Whether the log has a file by its URL, by an absolute path, or by a path with `..`.
fn is_elsewhere(path: &str) -> bool {
    let scheme = path.split_once(":/").map(|(scheme, _)| scheme);
    let has_scheme = scheme.is_some_and(|scheme| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    has_scheme || path.starts_with('/') || path.split('/').any(|part| part == "..")
}

fn partition_value(file: &Add, schema: &SchemaRef, column: &str) -> Result<ScalarValue, String> {
    let field = schema
        .field_with_name(column)
        .map_err(|error| error.to_string())?;
    let data_type = field.data_type();
    let text = file.partition_values.get(column).and_then(Option::as_deref);
    statistics::partition_value(data_type, text).ok_or_else(|| {
        format!(
            "data file {} has \"{}\" for partition column \"{column}\", which is no {data_type}",
            file.path,
            text.unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::is_elsewhere;

    #[test]
    fn url_or_absolute_path_lies_outside_the_table() {
        for path in [
            "file:/lake/a/b.parquet",
            "hdfs://host/b.parquet",
            "s3a://b/c",
            "/lake/b.parquet",
            "../b.parquet",
        ] {
            assert!(is_elsewhere(path), "{path}");
        }
        for path in [
            "b.parquet",
            "at=10:00:00/b.parquet",
            "place=a/b:c/d.parquet",
            "p=file:/x",
            "p=../b.parquet",
        ] {
            assert!(!is_elsewhere(path), "{path}");
        }
    }
}
