//! What a subquery takes from the rows outside, and which forms of that DataFusion decorrelates
//! rightly itself.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::utils::{split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Distinct, Expr, ExprSchemable as _, JoinType, LogicalPlan, Operator,
};

use super::subquery_of;
use crate::rules::conditions::guards::may_fail;
use arrow::datatypes::FieldRef;

/// Columns from outside of `plan` that it or a subquery in it refers to, each once.
pub(super) fn free_references(plan: &LogicalPlan) -> Result<Vec<(FieldRef, Column)>> {
    let mut found = Vec::new();
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let new = match (expr, subquery_of(expr)) {
                    (Expr::OuterReferenceColumn(field, column), _) => {
                        vec![(FieldRef::clone(field), column.clone())]
                    }
                    (_, Some(subquery)) => {
                        let inner = free_references(&subquery.subquery)?.into_iter();
                        let bound = |column: &Column| {
                            let mut inputs = node.inputs().into_iter();
                            inputs.any(|input| input.schema().has_column(column))
                        };
                        inner.filter(|(_, column)| !bound(column)).collect()
                    }
                    _ => vec![],
                };
                for reference in new {
                    if !found.iter().any(|(_, known)| *known == reference.1) {
                        found.push(reference);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

pub(super) fn is_correlated(plan: &LogicalPlan) -> Result<bool> {
    Ok(!free_references(plan)?.is_empty())
}

/// Whether `plan` has a LATERAL join, whose references are to its left side.
pub(super) fn holds_lateral(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Subquery(_))))
}

/// Whether references stand in conditions alone, with nothing above them but what keeps rows as
/// they are.
pub(super) fn is_plainly_correlated(plan: &LogicalPlan) -> Result<bool> {
    if !is_correlated(plan)? {
        return Ok(true);
    }
    let free = |expr: &Expr| expr.exists(|expr| Ok(is_reference(expr)));
    match plan {
        LogicalPlan::Filter(filter) => {
            let nested = |expr: &Expr| expr.exists(|expr| Ok(subquery_of(expr).is_some()));
            let conditions = split_conjunction_owned(filter.predicate.clone());
            let plain = conditions
                .iter()
                .all(|expr| !matches!((free(expr), nested(expr)), (Ok(true), Ok(true))));
            // `Guards` puts a correlated condition into a CASE around one that may fail, where
            // DataFusion does not look for it.
            let schema = filter.input.schema();
            let is_guard =
                any(&conditions, free)? && any(&conditions, |expr| may_fail(expr, schema))?;
            Ok(plain && !is_guard && is_plainly_correlated(&filter.input)?)
        }
        LogicalPlan::Projection(projection) => {
            Ok(!any(&projection.expr, free)? && is_plainly_correlated(&projection.input)?)
        }
        LogicalPlan::SubqueryAlias(alias) => is_plainly_correlated(&alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => is_plainly_correlated(input),
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            let on = join.on.iter().flat_map(|(left, right)| [left, right]);
            let conditions: Vec<_> = on.chain(&join.filter).cloned().collect();
            Ok(!any(&conditions, free)?
                && is_plainly_correlated(&join.left)?
                && is_plainly_correlated(&join.right)?)
        }
        _ => Ok(false),
    }
}

/// Whether `plan` is an aggregate without groups over rows that are chosen by the equality of a
/// column and a value from outside.
pub(super) fn is_plain_aggregate(plan: &LogicalPlan) -> Result<bool> {
    let free = |expr: &Expr| expr.exists(|expr| Ok(is_reference(expr)));
    match plan {
        LogicalPlan::Projection(projection) => {
            Ok(!any(&projection.expr, free)? && is_plain_aggregate(&projection.input)?)
        }
        LogicalPlan::SubqueryAlias(alias) => is_plain_aggregate(&alias.input),
        LogicalPlan::Aggregate(aggregate) => Ok(aggregate.group_expr.is_empty()
            && !any(&aggregate.aggr_expr, free)?
            && !aggregate
                .input
                .exists(|node| Ok(matches!(node, LogicalPlan::Distinct(_))))?
            && is_plainly_correlated(&aggregate.input)?
            && compares_by_equality(&aggregate.input)?),
        _ => Ok(false),
    }
}

fn compares_by_equality(plan: &LogicalPlan) -> Result<bool> {
    let mut plain = true;
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            for expr in split_conjunction(&filter.predicate) {
                if expr.exists(|expr| Ok(is_reference(expr)))? {
                    plain &= is_equality(expr, filter.input.schema())?;
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(plain)
}

/// A column on one side, and only values from outside on the other. Not of doubles: [`FloatKeys`]
/// wraps both sides, and DataFusion sees no equality then.
///
/// [`FloatKeys`]: crate::rules::float_keys::FloatKeys
fn is_equality(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = expr
    else {
        return Ok(false);
    };
    if left.get_type(schema)?.is_floating() || right.get_type(schema)?.is_floating() {
        return Ok(false);
    }
    let column = |expr: &Expr| match expr {
        Expr::Cast(Cast { expr, .. }) => matches!(expr.as_ref(), Expr::Column(_)),
        other => matches!(other, Expr::Column(_)),
    };
    let outside = |expr: &Expr| expr.column_refs().is_empty();
    Ok((column(left) && outside(right)) || (column(right) && outside(left)))
}

/// Whether `plan` returns one row at most, whatever it takes from outside.
pub(super) fn is_single_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_single_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_single_row(&alias.input),
        LogicalPlan::Filter(filter) => is_single_row(&filter.input),
        LogicalPlan::Sort(sort) => is_single_row(&sort.input),
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => true,
        other => other.max_rows().is_some_and(|rows| rows <= 1),
    }
}

fn is_reference(expr: &Expr) -> bool {
    matches!(expr, Expr::OuterReferenceColumn(..))
}

fn any(exprs: &[Expr], holds: impl Fn(&Expr) -> Result<bool>) -> Result<bool> {
    for expr in exprs {
        if holds(expr)? {
            return Ok(true);
        }
    }
    Ok(false)
}
