//! `INTERVAL '1 day' * 3`, `2 * span` and `span / 4`, as PostgreSQL computes them.
//!
//! DataFusion has no product of an interval or a duration and a number. A whole number multiplies
//! months, days and nanoseconds apart. With any other, what is left of a month becomes days, 30 to
//! a month, and what is left of a day becomes time.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, DurationMicrosecondArray, IntervalMonthDayNanoArray};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, Float64Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable as _, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DURATION: DataType = DataType::Duration(TimeUnit::Microsecond);
const DAYS_OF_MONTH: f64 = 30.0;
const NANOSECONDS_OF_DAY: f64 = 86_400e9;

/// The product of a span and a number, or their quotient.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scale {
    is_division: bool,
    signature: Signature,
}

impl Scale {
    fn new(is_division: bool) -> Self {
        Self {
            is_division,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// As the operator is written, so that columns keep their names.
    fn written(&self, operands: impl Iterator<Item = impl fmt::Display>) -> String {
        let operands: Vec<_> = operands.map(|operand| operand.to_string()).collect();
        operands.join(&format!(" {} ", self.name()))
    }
}

impl ScalarUDFImpl for Scale {
    fn name(&self) -> &'static str {
        if self.is_division { "/" } else { "*" }
    }

    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(self.written(operands.iter().map(Expr::schema_name)))
    }

    fn display_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(self.written(operands.iter()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [span, number] = types else {
            return plan_err!("'{}' has two operands", self.name());
        };
        let span = match span {
            DataType::Duration(_) => DURATION,
            _ => INTERVAL,
        };
        let is_whole = number.is_integer() && !self.is_division;
        let number = if is_whole {
            DataType::Int64
        } else {
            DataType::Float64
        };
        Ok(vec![span, number])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [span, _] => Ok(span.clone()),
            _ => plan_err!("'{}' has two operands", self.name()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let factors: Vec<Option<Factor>> = match columns[1].data_type() {
            DataType::Int64 => {
                let numbers = columns[1].as_primitive::<Int64Type>().iter();
                numbers.map(|number| number.map(Factor::Whole)).collect()
            }
            _ => {
                let numbers = columns[1].as_primitive::<Float64Type>().iter();
                let factor = |number| self.factor(number);
                let factors = numbers.map(|number| number.map(factor).transpose());
                factors.collect::<Result<_, _>>()?
            }
        };
        let spans = &columns[0];
        let scaled: ArrayRef = if spans.data_type() == &DURATION {
            let spans = spans.as_primitive::<DurationMicrosecondType>().iter();
            let scaled = spans.zip(factors).map(|(span, factor)| {
                let both = span.zip(factor);
                both.map(|(span, factor)| factor.of_i64(span)).transpose()
            });
            Arc::new(scaled.collect::<Result<DurationMicrosecondArray, _>>()?)
        } else {
            let spans = spans.as_primitive::<IntervalMonthDayNanoType>().iter();
            let scaled = spans.zip(factors).map(|(span, factor)| {
                let both = span.zip(factor);
                both.map(|(span, factor)| factor.of_interval(span))
                    .transpose()
            });
            Arc::new(scaled.collect::<Result<IntervalMonthDayNanoArray, _>>()?)
        };
        Ok(ColumnarValue::Array(scaled))
    }
}

impl Scale {
    fn factor(&self, number: f64) -> Result<Factor, ArrowError> {
        match self.is_division {
            true if number == 0.0 => Err(ArrowError::DivideByZero),
            true => Ok(Factor::Quotient(number)),
            false => Ok(Factor::Product(number)),
        }
    }
}

/// What a span is multiplied with or divided by.
#[derive(Clone, Copy)]
enum Factor {
    Whole(i64),
    Product(f64),
    Quotient(f64),
}

impl Factor {
    fn of_interval(self, span: IntervalMonthDayNano) -> Result<IntervalMonthDayNano, ArrowError> {
        if let Self::Whole(number) = self {
            let times = |part: i32| {
                let product = i64::from(part).checked_mul(number);
                product
                    .and_then(|product| i32::try_from(product).ok())
                    .ok_or_else(overflow)
            };
            return Ok(IntervalMonthDayNano {
                months: times(span.months)?,
                days: times(span.days)?,
                nanoseconds: self.of_i64(span.nanoseconds)?,
            });
        }
        let months = self.of_f64(f64::from(span.months));
        // Six digits, so that a third of three months leaves no day behind.
        let days_left = rounded(months.fract() * DAYS_OF_MONTH, 1e6);
        let days = self.of_f64(f64::from(span.days));
        let time_left = rounded(days.fract() + days_left.fract(), 1e11) * NANOSECONDS_OF_DAY;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a product with a double has its digits"
        )]
        let nanoseconds = self.of_f64(span.nanoseconds as f64) + time_left;
        // Microseconds are the smallest unit of instants here.
        let nanoseconds = whole((nanoseconds / 1e3).round())?.checked_mul(1000);
        Ok(IntervalMonthDayNano {
            months: i32::try_from(whole(months.trunc())?).map_err(|_| overflow())?,
            days: i32::try_from(whole(days.trunc() + days_left.trunc())?)
                .map_err(|_| overflow())?,
            nanoseconds: nanoseconds.ok_or_else(overflow)?,
        })
    }

    fn of_i64(self, number: i64) -> Result<i64, ArrowError> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a product with a double has its digits"
        )]
        match self {
            Self::Whole(factor) => number.checked_mul(factor).ok_or_else(overflow),
            Self::Product(_) | Self::Quotient(_) => whole(self.of_f64(number as f64).round()),
        }
    }

    fn of_f64(self, number: f64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "whole factors are multiplied elsewhere"
        )]
        match self {
            Self::Whole(factor) => number * factor as f64,
            Self::Product(factor) => number * factor,
            Self::Quotient(divisor) => number / divisor,
        }
    }
}

fn rounded(number: f64, unit: f64) -> f64 {
    (number * unit).round() / unit
}

/// The number, which has no fraction, if it is one of 64 bits.
fn whole(number: f64) -> Result<i64, ArrowError> {
    // 2^63 is a double, and the first that is too large; NaN is in no range.
    let limit = 9_223_372_036_854_775_808.0;
    if !(-limit..limit).contains(&number) {
        return Err(overflow());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is in range and has no fraction"
    )]
    Ok(number as i64)
}

fn overflow() -> ArrowError {
    let text = "Overflow happened on: a product that is out of range of INTERVAL";
    ArrowError::ArithmeticOverflow(text.to_owned())
}

/// Plans products and quotients of spans and numbers.
#[derive(Debug)]
pub(in crate::functions) struct IntervalScalePlanner {
    product: Arc<ScalarUDF>,
    quotient: Arc<ScalarUDF>,
}

impl IntervalScalePlanner {
    pub(in crate::functions) fn new() -> Self {
        Self {
            product: Arc::new(Scale::new(false).into()),
            quotient: Arc::new(Scale::new(true).into()),
        }
    }
}

impl ExprPlanner for IntervalScalePlanner {
    fn plan_binary_op(
        &self,
        operation: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        // What has no type yet is no span: a bound value, for one.
        let (Ok(left), Ok(right)) = (
            operation.left.get_type(schema),
            operation.right.get_type(schema),
        ) else {
            return Ok(PlannerResult::Original(operation));
        };
        let RawBinaryExpr {
            op,
            left: l,
            right: r,
        } = operation;
        Ok(match op {
            BinaryOperator::Multiply if is_span(&left) && right.is_numeric() => {
                PlannerResult::Planned(self.product.call(vec![l, r]))
            }
            BinaryOperator::Multiply if left.is_numeric() && is_span(&right) => {
                PlannerResult::Planned(self.product.call(vec![r, l]))
            }
            BinaryOperator::Divide if is_span(&left) && right.is_numeric() => {
                PlannerResult::Planned(self.quotient.call(vec![l, r]))
            }
            op => PlannerResult::Original(RawBinaryExpr {
                op,
                left: l,
                right: r,
            }),
        })
    }
}

/// Whether it is the type of a span of time.
pub(crate) fn is_span(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(factor: Factor, (months, days, nanoseconds): (i32, i32, i64), right: (i32, i32, i64)) {
        let span = IntervalMonthDayNano {
            months,
            days,
            nanoseconds,
        };
        let found = factor.of_interval(span).expect("it is in range");
        assert_eq!((found.months, found.days, found.nanoseconds), right);
    }

    #[test]
    fn spans_are_multiplied_and_divided_as_postgresql_does() {
        const HOUR: i64 = 3_600_000_000_000;
        check(Factor::Whole(3), (1, 2, HOUR), (3, 6, 3 * HOUR));
        check(Factor::Product(1.5), (0, 1, 0), (0, 1, 12 * HOUR));
        check(Factor::Product(0.5), (1, 0, 0), (0, 15, 0));
        check(Factor::Quotient(3.0), (3, 0, 0), (1, 0, 0));
        check(Factor::Quotient(4.0), (0, 0, HOUR), (0, 0, HOUR / 4));
        check(Factor::Quotient(-2.0), (0, 3, 0), (0, -1, -12 * HOUR));
        check(Factor::Product(0.1), (1, 0, 0), (0, 3, 0));
        let long = IntervalMonthDayNano {
            months: i32::MAX,
            days: 0,
            nanoseconds: 0,
        };
        assert!(Factor::Whole(2).of_interval(long).is_err());
        assert!(Factor::Product(f64::NAN).of_interval(long).is_err());
    }
}
