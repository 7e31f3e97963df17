//! A hash join has no dynamic filter where it would wait for a partition that the operator above
//! does not read.
//!
//! A hash join holds its probe side back until each of its partitions has reported what the build
//! side is, since the dynamic filter for the scans below is made of all reports. Above it, a
//! partitioned hash join ends without a look at its probe side where its own partition of the build
//! side is empty. DataFusion counts a partition that is dropped before its report only if the lower
//! join is partitioned as well (apache/datafusion#21625); one with `CollectLeft` waits for ever.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties as _, ReplaceChildrenOptions,
};

#[derive(Debug)]
pub(in crate::rules) struct DynamicFilters;

impl PhysicalOptimizerRule for DynamicFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let join = plan.downcast_ref::<HashJoinExec>();
            let Some(join) =
                join.filter(|join| *join.partition_mode() == PartitionMode::Partitioned)
            else {
                return Ok(Transformed::no(plan));
            };
            let (build, probe) = (Arc::clone(join.left()), Arc::clone(join.right()));
            probe.transform_down(without_waiting)?.map_data(|probe| {
                let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
                plan.replace_children(vec![build, probe], keep)
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "dynamic_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `plan` below a join that may leave some of its partitions unread.
fn without_waiting(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if reads_all(&plan) {
        return Ok(Transformed::new(plan, false, TreeNodeRecursion::Jump));
    }
    let join = plan.downcast_ref::<HashJoinExec>();
    match join.filter(|join| waits(join)) {
        Some(join) => join
            .builder()
            .reset_state()
            .build_exec()
            .map(Transformed::yes),
        None => Ok(Transformed::no(plan)),
    }
}

/// Whether `plan` reads all partitions of its input, whichever of its own are read.
fn reads_all(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
}

fn waits(join: &HashJoinExec) -> bool {
    *join.partition_mode() == PartitionMode::CollectLeft
        && join.right().output_partitioning().partition_count() > 1
        && !join.dynamic_expressions_produced().is_empty()
}
