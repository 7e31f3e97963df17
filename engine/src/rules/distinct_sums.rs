//! Sums of whole numbers and decimals beside an aggregate of distinct values stay whole.
//!
//! DataFusion computes `sum(x), count(DISTINCT y)` as the sum of the sums of each `y`. A sum of
//! sums has another type where `x` is a decimal, and one of them may leave BIGINT where the whole
//! does not.

use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::OptimizerRule as _;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;

use super::{LogicalRule, withheld};

/// DataFusion's rule, withheld from such sums.
pub(super) fn replace(rule: LogicalRule) -> LogicalRule {
    if rule.name() == SingleDistinctToGroupBy::new().name() {
        withheld::where_wrong(rule, has_exact_sum)
    } else {
        rule
    }
}

fn has_exact_sum(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(aggregate) = plan else {
        return false;
    };
    let fields = aggregate.schema.fields().iter();
    let fields = fields.skip(aggregate.group_expr_len().unwrap_or_default());
    let mut sums = aggregate.aggr_expr.iter().zip(fields);
    sums.any(|(sum, field)| {
        let is_sum =
            matches!(sum, Expr::AggregateFunction(function) if function.func.name() == "sum");
        is_sum && !field.data_type().is_floating()
    })
}
