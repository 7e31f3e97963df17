//! Finds -0.0 in lists that hold 0.0.
//!
//! DataFusion makes one list of `z = 0.0 OR z = 7.0 OR z = 8.0 OR z = 9.0`, and looks values up in
//! lists of four and more by their bits, of which -0.0 has others than 0.0. So a list that holds
//! one zero gets the other.

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(crate) struct ZeroInLists;

impl OptimizerRule for ZeroInLists {
    fn name(&self) -> &'static str {
        "zero_in_lists"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        plan.map_expressions(|expression| {
            expression.transform_up(|expression| Ok(both(expression)))
        })
    }
}

fn both(expression: Expr) -> Transformed<Expr> {
    let Expr::InList(InList {
        expr,
        mut list,
        negated,
    }) = expression
    else {
        return Transformed::no(expression);
    };
    let zeros: Vec<Expr> = list.iter().filter_map(other_zero).collect();
    let missing: Vec<Expr> = zeros
        .into_iter()
        .filter(|zero| !list.contains(zero))
        .collect();
    let changed = !missing.is_empty();
    list.extend(missing);
    let list = Expr::InList(InList::new(expr, list, negated));
    Transformed::new_transformed(list, changed)
}

/// -0.0 for 0.0, and 0.0 for -0.0.
fn other_zero(expression: &Expr) -> Option<Expr> {
    match expression {
        Expr::Literal(ScalarValue::Float64(Some(zero)), metadata) if *zero == 0.0 => Some(
            Expr::Literal(ScalarValue::Float64(Some(-zero)), metadata.clone()),
        ),
        Expr::Literal(ScalarValue::Float32(Some(zero)), metadata) if *zero == 0.0 => Some(
            Expr::Literal(ScalarValue::Float32(Some(-zero)), metadata.clone()),
        ),
        _ => None,
    }
}
