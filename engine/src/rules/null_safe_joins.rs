//! The keys of a join compare nulls in one way, and other keys do not join them.
//!
//! `a.k IS NOT DISTINCT FROM b.k` becomes the key of a join whose nulls are equal. DataFusion then adds `a.x = b.y` of a WHERE
//! to the keys, where it is true for two nulls as well, and unites joins whose nulls are equal with others.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// DataFusion's rule, or this one in its place.
pub(super) fn replace(rule: Rule) -> Rule {
    let of_one_join = rule.name() == ExtractEquijoinPredicate::new().name();
    let of_many_joins = rule.name() == EliminateCrossJoin::new().name();
    if of_one_join || of_many_joins {
        let looks_below = of_many_joins;
        Arc::new(NullSafeJoins {
            inner: rule,
            looks_below,
        })
    } else {
        rule
    }
}

#[derive(Debug)]
struct NullSafeJoins {
    inner: Rule,
    /// Whether the rule changes joins below the one that it is given.
    looks_below: bool,
}

impl OptimizerRule for NullSafeJoins {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let has_null_safe_join = if self.looks_below {
            plan.exists(|plan| Ok(is_null_safe(plan)))?
        } else {
            is_null_safe(&plan)
        };
        if has_null_safe_join {
            return Ok(Transformed::no(plan));
        }
        self.inner.rewrite(plan, config)
    }
}

fn is_null_safe(plan: &LogicalPlan) -> bool {
    let equal = NullEquality::NullEqualsNull;
    matches!(plan, LogicalPlan::Join(Join { null_equality, .. }) if *null_equality == equal)
}
