//! A constant stands on the right side of a comparison.
//!
//! DataFusion puts it there in most conditions, and expects it there when it looks for the
//! narrowest of them: of `x = 35` and `35 = x` it makes false, and of `x >= 5` and `5 < x` the
//! first.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use crate::rules::{is_variable, rewrite_expressions};

#[derive(Debug)]
pub(crate) struct LiteralSides;

impl AnalyzerRule for LiteralSides {
    fn name(&self) -> &'static str {
        "literal_sides"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, |expression, _| {
            expression.transform_up(|part| Ok(turn(part)))
        })
    }
}

fn turn(expression: Expr) -> Transformed<Expr> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(op) && !is_variable(&left) && is_variable(&right) =>
        {
            match op.swap() {
                Some(op) => Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(right, op, left))),
                None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        other => Transformed::no(other),
    }
}

pub(in crate::rules) fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}
