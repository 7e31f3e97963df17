//! Keeps what Parquet says of floats from leaving out rows with NaN.
//!
//! Statistics of Parquet leave NaN out, and in DataFusion's order NaN is larger than any number:
//! without this rule `x > 100` finds nothing in a row group of 1.0 and NaN, and a descending sort
//! with a limit, whose threshold prunes as well, loses the NaN that comes first
//! (apache/datafusion#15812, #24804). A float column whose files do not all have ends that hold for
//! NaN too becomes opaque to pruning; rows are filtered as before.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSource as _, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::rules::opaque::Opaque;

/// The rule; it has no state.
#[derive(Debug)]
pub(in crate::rules) struct FloatPruning;

impl PhysicalOptimizerRule for FloatPruning {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(match guarded(&node)? {
                Some(scan) => Transformed::yes(scan),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "float_pruning"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The scan that `node` is, with the floats of its predicate opaque; `None` when there is nothing
/// to do.
fn guarded(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(scan) = node.downcast_ref::<DataSourceExec>() else {
        return Ok(None);
    };
    let Some(config) = scan.data_source().downcast_ref::<FileScanConfig>() else {
        return Ok(None);
    };
    let Some(source) = config.file_source.downcast_ref::<ParquetSource>() else {
        return Ok(None);
    };
    let Some(predicate) = source.filter() else {
        return Ok(None);
    };
    let columns = source.table_schema().file_schema();
    let opaque = predicate.transform_up(|expr| {
        let column = expr.downcast_ref::<Column>();
        let is_blind = column.is_some_and(|column| may_hide_nan(column.name(), columns, config));
        Ok(if is_blind {
            Transformed::yes(Opaque::wrap(expr))
        } else {
            Transformed::no(expr)
        })
    })?;
    if !opaque.transformed {
        return Ok(None);
    }
    let source = source.with_predicate(opaque.data);
    let config = FileScanConfigBuilder::from(config.clone())
        .with_source(Arc::new(source))
        .build();
    Ok(Some(DataSourceExec::from_data_source(config)))
}

/// Whether the column of this name is of floats, and a file may hold NaN that its ends do not tell
/// of.
fn may_hide_nan(name: &str, columns: &Schema, config: &FileScanConfig) -> bool {
    let Some((index, field)) = columns.column_with_name(name) else {
        return false;
    };
    let hides = |file: &PartitionedFile| {
        let statistics = file.statistics.as_ref();
        statistics.is_none_or(|statistics| {
            let column = &statistics.column_statistics[index];
            let has_ends =
                column.min_value != Precision::Absent && column.max_value != Precision::Absent;
            let is_null_alone = matches!(
                (&column.null_count, &statistics.num_rows),
                (Precision::Exact(nulls), Precision::Exact(rows)) if nulls == rows
            );
            !has_ends && !is_null_alone
        })
    };
    let mut files = config.file_groups.iter().flat_map(|group| group.files());
    field.data_type().is_floating() && files.any(hides)
}
