//! Joins let others have the thread.
//!
//! Without this rule a join of DataFusion compares a whole batch of its probe side with the whole
//! build side before it returns to the scheduler (apache/datafusion#19358), unless rows come out of
//! it. A forgotten join condition over two tables of a million rows keeps a thread for minutes a
//! batch: no other statement runs there, and a cancelled one goes on. Hash joins do the same where
//! a key repeats on both sides and a filter, or a semi or anti join, lets nothing out.
//!
//! The rule puts an operator below each side of a join. That of the build side counts what a row of
//! the probe side will meet, that of the probe side cuts its batches so that one poll compares a
//! bounded number of pairs, and yields in between. Two more above the join take its time, and make
//! it yield as well while it only produces rows. An aggregate over many grouping sets computes all
//! of them for each row that it takes, and gets its input in slices too.

mod clock;
mod fan_out;
mod side;
mod slices;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties as _, ReplaceChildrenOptions,
};

use clock::Clock;
use fan_out::FanOut;
use side::JoinSideExec;

/// Grouping sets from which on an aggregate gets slices: those of a cube over four columns are
/// computed at once.
const GROUPING_SETS_MIN: usize = 17;

#[derive(Debug)]
pub(crate) struct CooperativeJoins;

impl PhysicalOptimizerRule for CooperativeJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match cooperative(&node)? {
            Some(cooperative) => Ok(Transformed::yes(cooperative)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "cooperative_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What stands in the place of `node`, if it is an operator that would keep its thread.
fn cooperative(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let (build, probe) = join.on().iter().cloned().unzip();
        return with_sides(node, build, probe).map(Some);
    }
    if node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>() {
        return with_sides(node, Vec::new(), Vec::new()).map(Some);
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let sets = aggregate.group_expr().groups().len();
        if sets >= GROUPING_SETS_MIN {
            let input = Arc::clone(aggregate.input());
            let clock = Arc::new(Clock::new(0));
            let sliced = JoinSideExec::probe(input, FanOut::constant(sets), Vec::new(), clock);
            return with_children(node, vec![Arc::new(sliced)]).map(Some);
        }
    }
    Ok(None)
}

/// `join` with its two inputs counted and sliced. Without keys each row of one side meets all of
/// the other.
fn with_sides(
    join: &Arc<dyn ExecutionPlan>,
    build_keys: Vec<PhysicalExprRef>,
    probe_keys: Vec<PhysicalExprRef>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let inputs: [Arc<dyn ExecutionPlan>; 2] = [0, 1].map(|side| Arc::clone(join.children()[side]));
    let [build, probe] = inputs;
    let fan_out = FanOut::counted(build.output_partitioning().partition_count());
    let clock = Arc::new(Clock::new(join.output_partitioning().partition_count()));
    let sides: Vec<Arc<dyn ExecutionPlan>> = vec![
        Arc::new(JoinSideExec::build(build, Arc::clone(&fan_out), build_keys)),
        Arc::new(JoinSideExec::probe(
            probe,
            fan_out,
            probe_keys,
            Arc::clone(&clock),
        )),
    ];
    let join = with_children(join, sides)?;
    let timed = JoinSideExec::output(join, clock);
    Ok(Arc::new(CooperativeExec::new(Arc::new(timed))))
}

fn with_children(
    node: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Arc::clone(node).replace_children(children, keep)
}

#[cfg(test)]
mod tests;
