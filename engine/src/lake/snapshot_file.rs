//! A data file as a version of its table has it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use deltalake_core::kernel::Add;
use object_store::path::Path;

use super::location::Location;
use super::partition::below;
use super::statistics::{self, Known};

/// What the files of a table have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    pub(super) location: &'a Location,
    /// The columns as readers see them.
    pub(super) schema: &'a SchemaRef,
    pub(super) partition_columns: &'a [String],
    /// Whether rows may be deleted from its files, so that statistics are wide.
    pub(super) may_be_wide: bool,
}

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
    known: Known,
    /// Statistics of its columns as the log has them, kilobytes a file, of which most are never asked for.
    logged: Option<String>,
    statistics: OnceLock<Arc<Statistics>>,
}

impl SnapshotFile {
    /// What the log says of a file of `table`.
    ///
    /// # Errors
    /// When it lies outside of the table's directory, or has a partition value that is none of its column's type.
    pub(super) fn from_log(file: Add, table: &Layout<'_>) -> Result<Self, String> {
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

    /// Of all columns in the order of the snapshot's schema, in the types of scans. Read from the log's text when they are first asked for.
    pub(super) fn statistics(&self) -> &Arc<Statistics> {
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

    /// Number of its rows, where the log says it.
    pub(super) fn rows(&self) -> Option<u64> {
        statistics::rows_from_log(self.logged.as_deref()?)
    }
}

/// Texts of data files are scanned as views, see [`LakeTable`](super::LakeTable).
fn as_scanned(end: &Precision<ScalarValue>) -> Precision<ScalarValue> {
    let viewed = |value: ScalarValue| match value {
        ScalarValue::Utf8(text) => ScalarValue::Utf8View(text),
        other => other,
    };
    end.clone().map(viewed)
}

/// Whether the log names a file by a whole address, by a path from the root, or by a way out of the directory.
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
    fn a_file_by_its_whole_address_is_elsewhere() {
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
