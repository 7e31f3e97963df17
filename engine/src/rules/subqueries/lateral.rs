//! LATERAL: the rows of a subquery for each row on its left.
//!
//! DataFusion 55 moves the conditions of a LATERAL subquery into the join, which is right where it
//! has nothing but conditions. Otherwise the answer is another one: a window runs over the rows of
//! all rows on the left, a constant beside an aggregate is null where nothing matches, and the
//! empty grouping set loses its row.

use std::sync::Arc;

use datafusion::common::{NullEquality, Result, plan_err};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Join, LogicalPlan, LogicalPlanBuilder};

use super::dependent::{Domain, depend};
use super::references::is_plainly_correlated;
use super::{AddedNames, restrict};

/// `join` with its right side computed once for each combination of the values that it takes from
/// the left one, null meeting null. `None` where that side is no LATERAL subquery, or one that
/// DataFusion answers rightly.
pub(super) fn unnest_lateral(join: &Join, names: &mut AddedNames) -> Result<Option<LogicalPlan>> {
    let Some(subquery) = lateral_of(&join.right)? else {
        return Ok(None);
    };
    if is_plainly_correlated(&subquery)? {
        return Ok(None);
    }
    let domain = Domain::new(&join.left, &subquery)?;
    let Some((plan, keys)) = depend(&subquery, &domain, names)? else {
        return plan_err!(
            "a LATERAL subquery refers to the row on its left ({}) below an operator that is not supported there, such as GROUPING SETS, DISTINCT ON or unnest; write it as a JOIN, or compute that operator outside",
            domain.names()
        );
    };
    // The keys match nulls. The equalities of ON do not, and so are conditions.
    let equalities = join
        .on
        .iter()
        .map(|(left, right)| left.clone().eq(right.clone()));
    let joined = LogicalPlan::Join(Join::try_new(
        Arc::clone(&join.left),
        Arc::new(plan),
        domain.keys(keys),
        conjunction(equalities.chain(join.filter.clone())),
        join.join_type,
        join.join_constraint,
        NullEquality::NullEqualsNull,
        false,
    )?);
    restrict(joined, &join.schema).map(Some)
}

/// The LATERAL subquery that `right` is, under its name if it has one.
fn lateral_of(right: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let (subquery, alias) = match right {
        LogicalPlan::Subquery(subquery) => (subquery, None),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => (subquery, Some(&alias.alias)),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    let plan = match alias {
        Some(alias) => plan.alias(alias.clone())?,
        None => plan,
    };
    plan.build().map(Some)
}
