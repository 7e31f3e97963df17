//! A logical rule of DataFusion that is not applied to plans which it would change wrongly.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;

struct Withheld {
    inner: LogicalRule,
    is_wrong: fn(&LogicalPlan) -> bool,
}

/// `rule`, which leaves a plan as it is where `is_wrong` says so.
pub(super) fn where_wrong(rule: LogicalRule, is_wrong: fn(&LogicalPlan) -> bool) -> LogicalRule {
    Arc::new(Withheld {
        inner: rule,
        is_wrong,
    })
}

impl fmt::Debug for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl OptimizerRule for Withheld {
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
        if (self.is_wrong)(&plan) {
            return Ok(Transformed::no(plan));
        }
        self.inner.rewrite(plan, config)
    }
}
