//! DOUBLE and REAL in the form in which equal values have equal bits.
//!
//! The order of floating numbers is that of PostgreSQL: -0.0 equals 0.0, NaN equals NaN and is
//! larger than all else. DataFusion orders and groups by bits: there -0.0 comes before 0.0, and a
//! NaN of negative sign, which is what `ln(-1)` and `0.0 / 0.0` give on x86, comes before
//! -Infinity.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `value` as a key of groups, joins and orders.
pub(crate) fn call(value: Expr) -> Expr {
    ScalarUDF::from(FloatKey::new()).call(vec![value])
}

/// Whether `value` is such a key already.
pub(crate) fn is_key(value: &Expr) -> bool {
    matches!(value, Expr::ScalarFunction(function) if function.func.inner().is::<FloatKey>())
}

/// The values with one zero and one NaN.
pub(crate) fn canonical(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let odd = |x: f64| (x == 0.0 && x.is_sign_negative()) || x.is_nan();
            replaced::<Float64Type>(values, odd, canonical_double)
        }
        DataType::Float32 => {
            let odd = |x: f32| (x == 0.0 && x.is_sign_negative()) || x.is_nan();
            replaced::<Float32Type>(values, odd, canonical_real)
        }
        _ => Arc::clone(values),
    }
}

/// The values with `new(x)` for every `x` that is odd.
fn replaced<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    odd: impl Fn(T::Native) -> bool,
    new: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let given = values.as_primitive::<T>();
    if !given.values().iter().any(|x| odd(*x)) {
        return Arc::clone(values);
    }
    Arc::new(given.unary::<_, T>(|x| if odd(x) { new(x) } else { x }))
}

fn canonical_double(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x + 0.0 }
}

fn canonical_real(x: f32) -> f32 {
    if x.is_nan() { f32::NAN } else { x + 0.0 }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatKey {
    signature: Signature,
}

impl FloatKey {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for FloatKey {
    fn name(&self) -> &'static str {
        "float_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &arguments.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(canonical(values)),
            ColumnarValue::Scalar(ScalarValue::Float64(Some(value))) => {
                ColumnarValue::Scalar(ScalarValue::from(canonical_double(*value)))
            }
            ColumnarValue::Scalar(ScalarValue::Float32(Some(value))) => {
                ColumnarValue::Scalar(ScalarValue::from(canonical_real(*value)))
            }
            ColumnarValue::Scalar(other) => ColumnarValue::Scalar(other.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::canonical_double;

    #[test]
    fn equal_values_have_equal_bits() {
        let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63);
        for (value, expected) in [
            (-0.0, 0.0),
            (0.0, 0.0),
            (negative_nan, f64::NAN),
            (f64::NEG_INFINITY, f64::NEG_INFINITY),
            (-1.5, -1.5),
        ] {
            let found: f64 = canonical_double(value);
            assert_eq!(found.to_bits(), expected.to_bits(), "{value}");
        }
    }
}
