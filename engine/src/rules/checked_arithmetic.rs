//! Puts checked arithmetic in place of DataFusion's operators, which wrap.
//!
//! See [`crate::functions::numbers::arithmetic`]. DOUBLE and REAL follow IEEE 754 and stay as they
//! are, as do days and instants. Comparisons, and with them everything that prunes, are not
//! touched.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use super::rewrite_expressions;
use crate::functions::intervals::interval_scale::is_span;
use crate::functions::numbers::arithmetic;

#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        // From above: the type of an operator takes a look at each operand, that of a function one
        // at each operand's whole text as well, which takes seconds for a sum of hundreds.
        rewrite_expressions(plan, |expression, columns| {
            expression.transform_down(|part| check(part, columns))
        })
    }
}

fn check(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let checked = matches!(
                op,
                Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Modulo
            ) && may_overflow(&left.get_type(schema)?, &right.get_type(schema)?);
            Ok(if checked {
                Transformed::yes(arithmetic::call(*left, op, *right))
            } else {
                Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            })
        }
        Expr::Negative(operand) => {
            let data_type = operand.get_type(schema)?;
            Ok(if data_type.is_signed_integer() || is_span(&data_type) {
                Transformed::yes(arithmetic::negate(*operand))
            } else {
                Transformed::no(Expr::Negative(operand))
            })
        }
        other => Ok(Transformed::no(other)),
    }
}

fn may_overflow(left: &DataType, right: &DataType) -> bool {
    (left.is_integer() && right.is_integer())
        || (left.is_decimal() && right.is_decimal())
        || (is_span(left) && is_span(right))
}
