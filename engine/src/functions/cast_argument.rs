//! Casts of arguments are part of the names of aggregates and windows.
//!
//! DataFusion leaves them out, and the columns of one plan may not share a name: `min(e),
//! min(CAST(e AS DATE))` would not be planned.

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr,
};

#[derive(Debug)]
pub(super) struct CastArgumentPlanner;

impl ExprPlanner for CastArgumentPlanner {
    fn plan_aggregate(
        &self,
        mut aggregate: RawAggregateExpr,
    ) -> Result<PlannerResult<RawAggregateExpr>> {
        aggregate.args.iter_mut().for_each(name);
        Ok(PlannerResult::Original(aggregate))
    }

    fn plan_window(&self, mut window: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        window.args.iter_mut().for_each(name);
        Ok(PlannerResult::Original(window))
    }
}

/// Names `argument` as it is displayed if it has a cast.
fn name(argument: &mut Expr) {
    let is_cast = |part: &Expr| Ok(matches!(part, Expr::Cast(_) | Expr::TryCast(_)));
    if argument.exists(is_cast).unwrap_or_default() {
        let name = argument.to_string();
        *argument = std::mem::take(argument).alias(name);
    }
}
