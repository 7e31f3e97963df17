//! The nearest number of another type: what PostgreSQL's casts give.
//!
//! DataFusion cuts a fraction off where a whole number is asked for, and rounds twice on the way
//! from a long decimal to a DOUBLE.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Float64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Whole numbers up to this one have a DOUBLE each.
const EXACT_MAX: i128 = 1 << 53;
/// Powers of ten up to this one have a DOUBLE each.
const EXACT_SCALE: i8 = 22;

/// The DOUBLE that is nearest to `decimal`.
pub(crate) fn double(decimal: Expr) -> Expr {
    ScalarUDF::from(Nearest::new(Target::Double)).call(vec![decimal])
}

/// The whole number that is nearest to `floating`, of two the even one; still a DOUBLE.
pub(crate) fn whole(floating: Expr) -> Expr {
    ScalarUDF::from(Nearest::new(Target::Whole)).call(vec![floating])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Double,
    Whole,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nearest {
    target: Target,
    signature: Signature,
}

impl Nearest {
    fn new(target: Target) -> Self {
        Self {
            target,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Nearest {
    fn name(&self) -> &str {
        match self.target {
            Target::Double => "nearest_double",
            Target::Whole => "nearest_whole",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.target, types) {
            (Target::Double, [decimal]) if decimal.is_decimal() => Ok(DataType::Float64),
            (Target::Whole, [floating]) if floating.is_floating() => Ok(DataType::Float64),
            _ => plan_err!("{} takes one number", self.name()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = arguments.args[0].to_array(arguments.number_rows)?;
        let nearest = match self.target {
            Target::Double => doubles(&values)?,
            Target::Whole => {
                let values = cast(&values, &DataType::Float64)?;
                let values = values.as_primitive::<Float64Type>();
                values.unary::<_, Float64Type>(f64::round_ties_even)
            }
        };
        Ok(ColumnarValue::Array(Arc::new(nearest)))
    }
}

fn doubles(decimals: &ArrayRef) -> Result<Float64Array> {
    match decimals.data_type() {
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            let decimals = decimals.as_primitive::<Decimal128Type>();
            Ok(
                decimals.unary::<_, Float64Type>(|value| match short(value, scale) {
                    Some(nearest) => nearest,
                    None => read(value, scale),
                }),
            )
        }
        DataType::Decimal256(_, scale) => {
            let scale = *scale;
            let decimals = decimals.as_primitive::<Decimal256Type>();
            Ok(decimals.unary::<_, Float64Type>(|value| read(value, scale)))
        }
        other => exec_err!("{other} is no decimal of 128 or 256 bits"),
    }
}

/// One division of two exact numbers, which rounds once.
fn short(value: i128, scale: i8) -> Option<f64> {
    let is_exact = value.abs() <= EXACT_MAX && (0..=EXACT_SCALE).contains(&scale);
    #[expect(clippy::cast_precision_loss, reason = "it has a DOUBLE")]
    is_exact.then(|| value as f64 / 10_f64.powi(i32::from(scale)))
}

fn read(value: impl Display, scale: i8) -> f64 {
    let text = format!("{value}e{}", -i16::from(scale));
    text.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{read, short};

    #[test]
    fn the_nearest_double_is_rounded_once() {
        assert_eq!(
            read(900_719_925_474_099_300_i128, 2),
            9_007_199_254_740_992.0
        );
        assert_eq!(short(900_719_925_474_099_300, 2), None);
        assert_eq!(short(3_573_120, 2), Some(35731.2));
        assert_eq!(short(-5, 22), Some(-5e-22));
    }
}
