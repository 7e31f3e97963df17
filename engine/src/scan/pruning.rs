//! Excludes data files that cannot match a predicate, by their statistics in the log.
//!
//! DataFusion's own `PrunableStatistics` ignores inexact bounds. Bounds of texts are never exact,
//! but still hold for all values, see [`SnapshotFile::statistics`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use lake::SnapshotFile;

/// The `files` that may have rows for which `predicate` is true. `schema` has all columns, the
/// partition columns last.
pub(super) fn prune<'a>(
    files: Vec<&'a SnapshotFile>,
    schema: &SchemaRef,
    predicate: &Arc<dyn PhysicalExpr>,
) -> Vec<&'a SnapshotFile> {
    if files.is_empty() {
        return files;
    }
    let pruning = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(schema))
        .build(Arc::clone(predicate));
    // A predicate that cannot prune, or fails, is still evaluated on every row.
    let kept = pruning.and_then(|pruning| {
        let ends = Ends {
            files: &files,
            schema,
        };
        pruning.prune(&ends).ok()
    });
    let Some(kept) = kept else { return files };
    let files = files.into_iter().zip(kept);
    files
        .filter_map(|(file, kept)| kept.then_some(file))
        .collect()
}

/// Statistics of files from the log, one row for each file.
struct Ends<'a> {
    files: &'a [&'a SnapshotFile],
    schema: &'a Schema,
}

impl Ends<'_> {
    fn values(
        &self,
        column: &Column,
        end: impl Fn(&ColumnStatistics) -> &Precision<ScalarValue>,
        of_zero: f64,
    ) -> Option<ArrayRef> {
        let index = self.schema.index_of(&column.name).ok()?;
        let data_type = self.schema.field(index).data_type();
        let first_of_partition = self.schema.fields().len() - self.files.first()?.partition.len();
        let unknown = ScalarValue::try_from(data_type).ok()?;
        let values = self
            .files
            .iter()
            .map(|file| match index.checked_sub(first_of_partition) {
                Some(partition) => of_partition(&file.partition[partition], of_zero),
                None => {
                    let found = end(&file.statistics().column_statistics[index]);
                    found.get_value().unwrap_or(&unknown).clone()
                }
            });
        ScalarValue::iter_to_array(values).ok()
    }

    fn counts(&self, count: impl Fn(&SnapshotFile) -> Option<usize>) -> ArrayRef {
        let counts = self.files.iter().map(|file| count(file));
        let counts = counts.map(|count| count.map(|count| count as u64));
        Arc::new(counts.collect::<UInt64Array>())
    }
}

/// A partition value as a bound. Either zero equals the other one, but bounds order -0.0 before
/// +0.0.
fn of_partition(value: &ScalarValue, of_zero: f64) -> ScalarValue {
    match value {
        ScalarValue::Float64(Some(number)) if *number == 0.0 => ScalarValue::from(of_zero),
        ScalarValue::Float32(Some(number)) if *number == 0.0 => {
            let zero = ScalarValue::from(of_zero).cast_to(&DataType::Float32);
            zero.unwrap_or_else(|_| value.clone())
        }
        value => value.clone(),
    }
}

impl PruningStatistics for Ends<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |column| &column.min_value, -0.0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |column| &column.max_value, 0.0)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.schema.index_of(&column.name).ok()?;
        Some(self.counts(|file| {
            let column = &file.statistics().column_statistics[index];
            column.null_count.get_value().copied()
        }))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(self.counts(|file| file.statistics().num_rows.get_value().copied()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
