//! Computes expressions for the rows that are left, and not for those that a condition excludes.
//!
//! DataFusion moves a projection below a filter where that makes rows narrower: `SELECT a, a / b …
//! WHERE b <> 0` divides by zero. And it computes parts of a nested loop join's filter that read
//! one side alone below the join, for all rows of that side, also where a CASE of the filter
//! excludes some: `ON p.b <> 0 AND p.a / p.b > u.x`. Here a projection that computes stays above a
//! filter, and in a plan with such a projection or such a filter all joins keep their filters
//! whole.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CaseExpr, Column, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::projection::{
    ProjectionExec, remove_unnecessary_projections, try_embed_projection,
};

use crate::rules::PhysicalRule;

/// DataFusion's rule, or this one in its place.
pub(in crate::rules) fn replace(rule: PhysicalRule) -> PhysicalRule {
    if rule.name() == ProjectionPushdown::new().name() {
        Arc::new(CarefulProjectionPushdown { inner: rule })
    } else {
        rule
    }
}

#[derive(Debug)]
struct CarefulProjectionPushdown {
    inner: PhysicalRule,
}

impl PhysicalOptimizerRule for CarefulProjectionPushdown {
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
        let needs_care = plan.exists(|plan| {
            let projection = plan.downcast_ref::<ProjectionExec>();
            let join = plan.downcast_ref::<NestedLoopJoinExec>();
            let filter = join.and_then(NestedLoopJoinExec::filter);
            Ok(projection.is_some_and(computes)
                || filter.is_some_and(|filter| has_case(filter.expression())))
        })?;
        if needs_care {
            return Ok(plan.transform_down(push_down)?.data);
        }
        self.inner.optimize(plan, config)
    }
}

/// DataFusion's step, but for a projection that computes and stands on a filter: the filter then
/// has its columns alone.
fn push_down(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let projection = plan.downcast_ref::<ProjectionExec>();
    if let Some(projection) = projection.filter(|projection| computes(projection))
        && let Some(filter) = projection.input().downcast_ref::<FilterExec>()
    {
        let embedded = try_embed_projection(projection, filter)?;
        return Ok(embedded.map_or_else(|| Transformed::no(plan), Transformed::yes));
    }
    remove_unnecessary_projections(plan)
}

fn computes(projection: &ProjectionExec) -> bool {
    let mut expressions = projection.expr().iter();
    expressions.any(|one| !one.expr.is::<Column>() && !one.expr.is::<Literal>())
}

fn has_case(expression: &Arc<dyn PhysicalExpr>) -> bool {
    expression.is::<CaseExpr>() || expression.children().into_iter().any(has_case)
}
