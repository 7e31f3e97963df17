//! The keys of a join compare nulls in one way, and other keys do not join them.
//!
//! `a.k IS NOT DISTINCT FROM b.k` becomes the key of a join whose nulls are equal. DataFusion then
//! adds `a.x = b.y` of a WHERE to the keys, where it is true for two nulls as well, and unites
//! joins whose nulls are equal with others.

use datafusion::common::NullEquality;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::optimizer::OptimizerRule as _;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;

use crate::rules::{LogicalRule, withheld};

/// DataFusion's rules, withheld from such joins.
pub(in crate::rules) fn replace(rule: LogicalRule) -> LogicalRule {
    if rule.name() == ExtractEquijoinPredicate::new().name() {
        withheld::where_wrong(rule, is_null_safe)
    } else if rule.name() == EliminateCrossJoin::new().name() {
        // It changes joins below the one that it is given.
        withheld::where_wrong(rule, holds_null_safe)
    } else {
        rule
    }
}

fn is_null_safe(plan: &LogicalPlan) -> bool {
    let equal = NullEquality::NullEqualsNull;
    matches!(plan, LogicalPlan::Join(Join { null_equality, .. }) if *null_equality == equal)
}

fn holds_null_safe(plan: &LogicalPlan) -> bool {
    plan.exists(|plan| Ok(is_null_safe(plan))).unwrap_or(true)
}
