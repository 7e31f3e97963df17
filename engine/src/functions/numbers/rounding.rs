//! `round` and `trunc` of DOUBLE and REAL to so many digits that they change nothing, or leave
//! nothing.
//!
//! DataFusion multiplies by a power of ten and divides by it again: `round(1e300, 10)` is Infinity
//! there, `round(1.5, 400)` is NaN, and whole numbers beyond 2^52 may become their neighbours.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray as _, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// From here on every DOUBLE is a whole number.
const WHOLE_DOUBLES: f64 = 4_503_599_627_370_496.0;
/// From here on every REAL is a whole number.
const WHOLE_REALS: f32 = 8_388_608.0;
/// No number has a digit that many places from its point, on either side.
const PLACES_MAX: i64 = 330;

/// A function of DataFusion that rounds its first argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounding {
    inner: Arc<ScalarUDF>,
}

/// Puts ours in the place of DataFusion's.
pub(in crate::functions) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for name in ["round", "trunc"] {
        let inner = registry.udf(name)?;
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Rounding { inner })))?;
    }
    Ok(())
}

impl ScalarUDFImpl for Rounding {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = args.args.clone();
        let found = self.inner.invoke_with_args(args)?;
        match (given.as_slice(), found.data_type()) {
            ([values, places], DataType::Float64) => {
                let kept = |x: f64| x.abs() >= WHOLE_DOUBLES;
                repaired::<Float64Type>(values, places, &found, kept, f64::is_finite)
            }
            ([values, places], DataType::Float32) => {
                let kept = |x: f32| x.abs() >= WHOLE_REALS;
                repaired::<Float32Type>(values, places, &found, kept, f32::is_finite)
            }
            _ => Ok(found),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// What was `rounded` for `values` and `places`, with the value itself where no digit is beyond the
/// last place, and zero where none is before it.
fn repaired<T: ArrowPrimitiveType>(
    values: &ColumnarValue,
    places: &ColumnarValue,
    rounded: &ColumnarValue,
    is_whole: impl Fn(T::Native) -> bool,
    is_finite: impl Fn(T::Native) -> bool,
) -> Result<ColumnarValue> {
    let is_scalar = matches!(rounded, ColumnarValue::Scalar(_));
    let columns = [values.clone(), places.clone(), rounded.clone()];
    let columns = ColumnarValue::values_to_arrays(&columns)?;
    let (values, found) = (
        columns[0].as_primitive::<T>(),
        columns[2].as_primitive::<T>(),
    );
    let places = arrow::compute::cast(&columns[1], &DataType::Int64)?;
    let places = places.as_primitive::<Int64Type>();
    let is_near = |places: &i64| places.unsigned_abs() <= PLACES_MAX.unsigned_abs();
    let is_usual = |value: &T::Native| !is_whole(*value) && is_finite(*value);
    if places.values().iter().all(is_near)
        && values.values().iter().all(is_usual)
        && found.values().iter().all(|found| is_finite(*found))
    {
        return Ok(rounded.clone());
    }
    let rows = values.iter().zip(places).zip(found);
    let repaired = rows.map(|((value, places), found)| {
        let (value, places, found) = (value?, places?, found?);
        Some(if !is_finite(value) {
            found
        } else if places > PLACES_MAX || (places >= 0 && is_whole(value)) {
            value
        } else if places < -PLACES_MAX {
            T::default_value()
        } else if !is_finite(found) {
            // The power of ten left the type.
            if places < 0 {
                T::default_value()
            } else {
                value
            }
        } else {
            found
        })
    });
    let repaired: PrimitiveArray<T> = repaired.collect();
    if is_scalar {
        let value = ScalarValue::try_from_array(&repaired, 0)?;
        return Ok(ColumnarValue::Scalar(value));
    }
    Ok(ColumnarValue::Array(Arc::new(repaired) as ArrayRef))
}
