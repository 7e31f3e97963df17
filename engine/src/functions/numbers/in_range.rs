//! A cast to REAL or DOUBLE of a number beyond its range fails, as in PostgreSQL, and `try_cast`
//! gives null; DataFusion makes both infinite.

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray};
use arrow::compute::{CastOptions, cast, nullif};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::array_value_to_string;
use datafusion::common::format::DEFAULT_FORMAT_OPTIONS;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `value` as a number of type `to`: REAL or DOUBLE. Fails, or gives null, where `value` is finite
/// and its cast is infinite.
pub(crate) fn call(value: Expr, to: DataType, beyond: Beyond) -> Expr {
    ScalarUDF::from(InRange::new(to, beyond)).call(vec![value])
}

/// What a number beyond the range becomes, and what is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Beyond {
    Error,
    Null,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InRange {
    to: DataType,
    beyond: Beyond,
    signature: Signature,
}

impl InRange {
    fn new(to: DataType, beyond: Beyond) -> Self {
        Self {
            to,
            beyond,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for InRange {
    fn name(&self) -> &str {
        "in_range"
    }

    /// As a cast, which has the name of its value.
    fn schema_name(&self, value: &[Expr]) -> Result<String> {
        Ok(value[0].schema_name().to_string())
    }

    fn display_name(&self, value: &[Expr]) -> Result<String> {
        Ok(format!("CAST({} AS {})", value[0], self.to))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = &arguments.args[..] else {
            return exec_err!("in_range takes one value");
        };
        let options = CastOptions {
            safe: self.beyond == Beyond::Null,
            format_options: DEFAULT_FORMAT_OPTIONS,
        };
        let number = value.cast_to(&self.to, Some(&options))?;
        let cast = number.to_array(arguments.number_rows)?;
        let infinite = infinite(&cast)?;
        if infinite.true_count() == 0 {
            return Ok(number);
        }
        let value = value.to_array(arguments.number_rows)?;
        let is_infinite_input = is_infinite_input(&value)?;
        let is_beyond =
            |row| infinite.is_valid(row) && infinite.value(row) && !is_infinite_input(row);
        let beyond: BooleanArray = (0..value.len()).map(|row| Some(is_beyond(row))).collect();
        if self.beyond == Beyond::Error
            && let Some(row) = beyond.values().set_indices().next()
        {
            let name = match self.to {
                DataType::Float64 => "DOUBLE",
                _ => "REAL",
            };
            let value = array_value_to_string(&value, row)?;
            return exec_err!("{value} is out of the range of {name}");
        }
        Ok(ColumnarValue::Array(nullif(&cast, &beyond)?))
    }
}

/// Which rows are infinite.
fn infinite(numbers: &ArrayRef) -> Result<BooleanArray> {
    let numbers = cast(numbers, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    Ok(BooleanArray::from_unary(numbers, f64::is_infinite))
}

/// Whether the value of a row is infinity: as a number, or in words.
fn is_infinite_input(values: &ArrayRef) -> Result<Box<dyn Fn(usize) -> bool>> {
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
        let is_infinite = is_infinite_input(&numbers).unwrap();
        assert_eq!([is_infinite(0), is_infinite(1)], [false, true]);
        let words: ArrayRef = Arc::new(StringArray::from(vec!["1e39", " -Infinity", "inf"]));
        let is_infinite = is_infinite_input(&words).unwrap();
        assert_eq!(
            [is_infinite(0), is_infinite(1), is_infinite(2)],
            [false, true, true]
        );
    }
}
