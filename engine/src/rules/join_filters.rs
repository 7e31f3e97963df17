//! Keeps what a CASE guards within the filter of a join.
//!
//! DataFusion computes parts of a nested loop join's filter that read one side alone below the join, for all rows of that
//! side, also where a CASE of the filter excludes some: `ON p.b <> 0 AND p.a / p.b > u.x` divides by zero. A plan with a
//! CASE in such a filter keeps its filters whole.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CaseExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::projection::remove_unnecessary_projections;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rule, or this one in its place.
pub(super) fn replace(rule: Rule) -> Rule {
    if rule.name() == ProjectionPushdown::new().name() {
        Arc::new(JoinFilters { inner: rule })
    } else {
        rule
    }
}

#[derive(Debug)]
struct JoinFilters {
    inner: Rule,
}

impl PhysicalOptimizerRule for JoinFilters {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_check(&self) -> bool {
        self.inner.schema_check()
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let guarded = plan.exists(|plan| {
            let join = plan.downcast_ref::<NestedLoopJoinExec>();
            let filter = join.and_then(NestedLoopJoinExec::filter);
            Ok(filter.is_some_and(|filter| has_case(filter.expression())))
        })?;
        if guarded {
            let plan = plan.transform_down(remove_unnecessary_projections)?;
            return Ok(plan.data);
        }
        self.inner.optimize(plan, config)
    }
}

fn has_case(expression: &Arc<dyn PhysicalExpr>) -> bool {
    expression.is::<CaseExpr>() || expression.children().into_iter().any(has_case)
}
