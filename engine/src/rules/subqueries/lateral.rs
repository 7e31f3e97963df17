//! LATERAL: the rows of a subquery for each row on its left.
//!
//! DataFusion 55 moves the conditions of a LATERAL subquery into the join, which is right where it
//! has nothing but conditions. Otherwise the answer is another one: a window runs over the rows of
//! all rows on the left, a constant beside an aggregate is null where nothing matches, and the
//! empty grouping set loses its row.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, NullEquality, Result, TableReference, plan_err};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Join, LogicalPlan, LogicalPlanBuilder, Subquery};

use super::dependent::{Domain, depend};
use super::references::{free_references, is_plainly_correlated};
use super::{AddedNames, restrict};

/// Whether the right side of `join` is a LATERAL subquery that DataFusion would answer wrongly.
pub(super) fn is_ours(join: &Join) -> Result<bool> {
    match lateral_of(&join.right) {
        Some((subquery, _)) => Ok(!is_plainly_correlated(&subquery.subquery)?),
        None => Ok(false),
    }
}

/// `join` with its right side computed once for each combination of the values that it takes from
/// the left one, null meeting null.
pub(super) fn unnest_lateral(
    join: Join,
    names: &mut AddedNames,
) -> Result<Transformed<LogicalPlan>> {
    let Some((subquery, alias)) = lateral_of(&join.right) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let inner = subquery.subquery.as_ref();
    let references = free_references(inner)?.into_iter();
    let columns = references.map(|(_, column)| column);
    let columns = columns.filter(|column| join.left.schema().has_column(column));
    let domain = Domain::new(&join.left, columns.collect())?;
    let Some((mut plan, mut keys)) = depend(inner, &domain, names)? else {
        return plan_err!(
            "a LATERAL subquery refers to the row on its left ({}) below an operator that is not supported there, such as GROUPING SETS, DISTINCT ON or unnest; write it as a JOIN, or compute that operator outside",
            domain.names()
        );
    };
    if let Some(alias) = alias {
        plan = LogicalPlanBuilder::from(plan)
            .alias(alias.clone())?
            .build()?;
        let qualified = keys.into_iter();
        keys = qualified
            .map(|key| Column::new(Some(alias.clone()), key.name))
            .collect();
    }
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
    Ok(Transformed::yes(restrict(joined, &join.schema)?))
}

/// The LATERAL subquery that `right` is, and its name.
fn lateral_of(right: &LogicalPlan) -> Option<(&Subquery, Option<&TableReference>)> {
    match right {
        LogicalPlan::Subquery(subquery) => Some((subquery, None)),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => Some((subquery, Some(&alias.alias))),
            _ => None,
        },
        _ => None,
    }
}
