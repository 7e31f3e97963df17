//! Casts between numbers give the nearest number, and comparisons see what they give.
//!
//! - DataFusion cuts the fraction off where a whole number is asked for (`2.5::int` is 3 in
//!   PostgreSQL), and rounds a long decimal twice on its way to a DOUBLE. It makes a number beyond
//!   the range of REAL or DOUBLE infinite; PostgreSQL refuses it.
//! - It moves a cast from one side of a comparison to the constant on the other: `x::int = 1`
//!   becomes `x = 1.0`, which is another question where the cast rounds or fails. A cast that
//!   always keeps the number stays in its sight, and prunes.
//! - It estimates how many rows a comparison of two columns keeps from their ends, and fails where
//!   the cast of an instant to its day makes these wider. Beside a constant such a cast prunes.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::functions::math::expr_fn::round;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::numbers::in_range::{self, Beyond};
use crate::functions::{numbers::nearest, opaque};
use crate::rules::conditions::guards::always_casts;
use crate::rules::types::literal_sides::is_comparison;
use crate::rules::{is_variable, rewrite_expressions};

/// Decimals of so many digits become the nearest DOUBLE by a single division.
const SHORT_DIGITS: u8 = 15;

#[derive(Debug)]
pub(crate) struct Casts;

impl AnalyzerRule for Casts {
    fn name(&self) -> &'static str {
        "casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, |expression, columns| {
            expression.transform_down(|part| repair(part, columns))
        })
    }
}

fn repair(mut expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let done = |expression| Ok(Transformed::new(expression, true, TreeNodeRecursion::Jump));
    // A plan is analysed twice where a client prepares it.
    if opaque::is_opaque(&expression) {
        return Ok(Transformed::new(expression, false, TreeNodeRecursion::Jump));
    }
    let of_columns = match &expression {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            is_variable(&binary.left) && is_variable(&binary.right)
        }
        Expr::Between(range) => is_variable(&range.low) || is_variable(&range.high),
        _ => false,
    };
    if of_columns {
        let sides =
            expression.map_children(|side| side.transform_down(|part| hide_day(part, schema)))?;
        return Ok(Transformed::new(sides.data, true, TreeNodeRecursion::Jump));
    }
    let beyond = match &expression {
        Expr::TryCast(_) => Beyond::Null,
        _ => Beyond::Error,
    };
    let (value, to) = match &mut expression {
        Expr::Cast(cast) => (cast.expr.as_mut(), cast.field.data_type().clone()),
        Expr::TryCast(cast) => (cast.expr.as_mut(), cast.field.data_type().clone()),
        _ => return Ok(Transformed::no(expression)),
    };
    let from = value.get_type(schema)?;
    let inner = std::mem::take(value).transform_down(|part| repair(part, schema))?;
    *value = inner.data;
    match (&from, &to) {
        (DataType::Decimal128(digits, _) | DataType::Decimal256(digits, _), DataType::Float64)
            if *digits > SHORT_DIGITS =>
        {
            done(nearest::double(std::mem::take(value)))
        }
        (from, to) if from.is_decimal() && to.is_integer() => {
            *value = round(vec![std::mem::take(value)]);
            done(opaque::call(expression))
        }
        (from, to) if from.is_floating() && to.is_integer() => {
            *value = nearest::whole(std::mem::take(value));
            done(opaque::call(expression))
        }
        (from, to) if may_overflow(from, to) => {
            done(in_range::call(std::mem::take(value), to.clone(), beyond))
        }
        (from, to) if is_exact(from) && is_exact(to) && !keeps_order(from, to) => {
            done(opaque::call(expression))
        }
        _ => done(expression),
    }
}

/// [`repair`] for a side of a comparison of columns.
fn hide_day(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_day =
        matches!(&expression, Expr::Cast(cast) if cast.field.data_type() == &DataType::Date32);
    let repaired = repair(expression, schema)?;
    Ok(if is_day && !opaque::is_opaque(&repaired.data) {
        Transformed::new(opaque::call(repaired.data), true, TreeNodeRecursion::Jump)
    } else {
        repaired
    })
}

/// Whether a comparison of the cast is one of the value: a count of rows always fits.
fn keeps_order(from: &DataType, to: &DataType) -> bool {
    always_casts(from, to) || (from, to) == (&DataType::UInt64, &DataType::Int64)
}

/// Whether `from` may be a number beyond the range of `to`.
fn may_overflow(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Dictionary(_, from), to) => may_overflow(from, to),
        (DataType::Float64 | DataType::Decimal256(..), DataType::Float32) => true,
        (from, DataType::Float32 | DataType::Float64) => from.is_string(),
        _ => false,
    }
}

fn is_exact(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_decimal()
}
