//! A cast to REAL or DOUBLE of a number beyond its range fails, as in PostgreSQL, and `try_cast` gives null; DataFusion makes
//! both infinite.

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::array_value_to_string;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `number`, a cast of `value`, unless it alone is infinite.
pub(crate) fn call(number: Expr, value: Expr, beyond: Beyond) -> Expr {
    ScalarUDF::from(InRange::new(beyond)).call(vec![number, value])
}

/// What a number beyond the range becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Beyond {
    Error,
    Null,
}

/// Whether `expression` is one already.
pub(crate) fn is_in_range(expression: &Expr) -> bool {
    matches!(expression, Expr::ScalarFunction(function) if function.func.inner().is::<InRange>())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InRange {
    beyond: Beyond,
    signature: Signature,
}

impl InRange {
    fn new(beyond: Beyond) -> Self {
        Self {
            beyond,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for InRange {
    fn name(&self) -> &str {
        "in_range"
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(arguments[0].schema_name().to_string())
    }

    fn display_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(arguments[0].to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [number, _] if number.is_floating() => Ok(number.clone()),
            _ => plan_err!("in_range takes a number and what it is made of"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let number = arguments.args[0].to_array(arguments.number_rows)?;
        let made = infinite(&number)?;
        if made.true_count() == 0 {
            return Ok(arguments.args[0].clone());
        }
        let value = arguments.args[1].to_array(arguments.number_rows)?;
        let given = said_infinite(&value)?;
        let is_beyond = |row| made.is_valid(row) && made.value(row) && !given(row);
        let beyond: BooleanArray = (0..made.len()).map(|row| Some(is_beyond(row))).collect();
        if self.beyond == Beyond::Error
            && let Some(row) = beyond.values().set_indices().next()
        {
            let name = match number.data_type() {
                DataType::Float64 => "DOUBLE",
                _ => "REAL",
            };
            let value = array_value_to_string(&value, row)?;
            return exec_err!("{value} is out of the range of {name}");
        }
        Ok(ColumnarValue::Array(nullif(&number, &beyond)?))
    }
}

/// Which rows are infinite.
fn infinite(numbers: &ArrayRef) -> Result<BooleanArray> {
    let numbers = cast(numbers, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    Ok(BooleanArray::from_unary(numbers, f64::is_infinite))
}

/// Whether the value of a row is infinity: as a number, or in words.
fn said_infinite(values: &ArrayRef) -> Result<Box<dyn Fn(usize) -> bool>> {
    if values.data_type().is_floating() {
        let infinite = infinite(values)?;
        return Ok(Box::new(move |row| infinite.value(row)));
    }
    let texts = cast(values, &DataType::Utf8)?;
    Ok(Box::new(move |row| {
        let text = texts.as_string::<i32>().value(row).trim();
        let word = text.trim_start_matches(['+', '-']);
        word.starts_with(['i', 'I'])
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn infinity_is_known_in_numbers_and_words() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1e39, f64::NEG_INFINITY]));
        let said = said_infinite(&numbers).unwrap();
        assert_eq!([said(0), said(1)], [false, true]);
        let words: ArrayRef = Arc::new(StringArray::from(vec!["1e39", " -Infinity", "inf"]));
        let said = said_infinite(&words).unwrap();
        assert_eq!([said(0), said(1), said(2)], [false, true, true]);
    }
}
