//! A scalar subquery without a row is null, whatever its column is.
//!
//! DataFusion takes it for never null where the column is not: `(SELECT 1 WHERE false) IS NULL` is
//! false there, and `coalesce((SELECT 1 WHERE false), 5)` fails.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::opaque;

#[derive(Debug)]
pub(crate) struct SubqueryNulls;

impl AnalyzerRule for SubqueryNulls {
    fn name(&self) -> &'static str {
        "subquery_nulls"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expression| expression.transform_up(may_be_null))?
                .map_data(LogicalPlan::recompute_schema)
        })?;
        Ok(plan.data)
    }
}

fn may_be_null(expression: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = expression else {
        return Ok(Transformed::no(expression));
    };
    let columns: Vec<_> = subquery.subquery.schema().iter().collect();
    let [(relation, field)] = columns[..] else {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    };
    if field.is_nullable() || always_has_a_row(&subquery.subquery) {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let value = opaque::call(Expr::from((relation, field)));
    let value = value.alias_qualified(relation.cloned(), field.name());
    let nullable = Projection::try_new(vec![value], Arc::clone(&subquery.subquery))?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(LogicalPlan::Projection(nullable)),
        ..subquery
    })))
}

/// An aggregate without groups has one, unless HAVING drops it.
fn always_has_a_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => always_has_a_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => always_has_a_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}
