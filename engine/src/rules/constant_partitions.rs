//! A window that is partitioned by what a condition makes constant (`WHERE y = 1 … OVER (PARTITION
//! BY y)`) runs.
//!
//! DataFusion 55.2 leaves a constant key out of the sort below the window. Once a later rule has
//! moved the condition, the key is no longer known to be constant, and the window fails when it
//! runs: "Expects PARTITION BY expression to be ordered". Here its input is sorted by that key too.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, InputOrderMode, ReplaceChildrenOptions,
};

#[derive(Debug)]
pub(crate) struct ConstantPartitions;

impl PhysicalOptimizerRule for ConstantPartitions {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match sorted(&node)? {
            Some(sorted) => Ok(Transformed::yes(sorted)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "constant_partitions"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The window over an input sorted by all of its keys, if it would not find the order of its
/// partitions.
fn sorted(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (expressions, keys) = if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
        if window.input_order_mode != InputOrderMode::Sorted {
            return Ok(None);
        }
        (window.window_expr(), window.partition_by_sort_keys())
    } else if let Some(window) = node.downcast_ref::<WindowAggExec>() {
        (window.window_expr(), window.partition_by_sort_keys())
    } else {
        return Ok(None);
    };
    if keys.is_ok() {
        return Ok(None);
    }
    let partition_by = expressions[0].partition_by().iter();
    let partition_by = partition_by.map(|key| PhysicalSortExpr::new_default(Arc::clone(key)));
    let order_by = expressions[0].order_by().iter().cloned();
    let Some(keys) = LexOrdering::new(partition_by.chain(order_by)) else {
        return Ok(None);
    };
    let input = Arc::clone(node.children()[0]);
    let sorted = SortExec::new(keys, input).with_preserve_partitioning(true);
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let sorted: Arc<dyn ExecutionPlan> = Arc::new(sorted);
    Arc::clone(node)
        .replace_children(vec![sorted], recompute)
        .map(Some)
}
