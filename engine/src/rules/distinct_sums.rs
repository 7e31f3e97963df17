//! Sums of whole numbers and decimals beside an aggregate of distinct values stay whole.
//!
//! DataFusion computes `sum(x), count(DISTINCT y)` as the sum of the sums of each `y`. A sum of sums has another type where
//! `x` is a decimal, and one of them may leave BIGINT where the whole does not.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// DataFusion's rule, or this one in its place.
pub(super) fn replace(rule: Rule) -> Rule {
    if rule.name() == SingleDistinctToGroupBy::new().name() {
        Arc::new(DistinctSums { inner: rule })
    } else {
        rule
    }
}

#[derive(Debug)]
struct DistinctSums {
    inner: Rule,
}

impl OptimizerRule for DistinctSums {
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
        match &plan {
            LogicalPlan::Aggregate(aggregate) if has_exact_sum(aggregate) => {
                Ok(Transformed::no(plan))
            }
            _ => self.inner.rewrite(plan, config),
        }
    }
}

fn has_exact_sum(aggregate: &Aggregate) -> bool {
    let fields = aggregate.schema.fields().iter();
    let fields = fields.skip(aggregate.group_expr_len().unwrap_or_default());
    let mut sums = aggregate.aggr_expr.iter().zip(fields);
    sums.any(|(sum, field)| {
        let is_sum =
            matches!(sum, Expr::AggregateFunction(function) if function.func.name() == "sum");
        is_sum && !field.data_type().is_floating()
    })
}
