//! `strpos(text, part)`: the place of the first `part` in a text, in characters from 1; 0 where
//! there is none.
//!
//! Where the part differs from row to row, DataFusion compares it at every place of the text, so
//! that one call with texts of a megabyte takes minutes, in which nothing can stop it. Here the
//! time grows with the lengths. A constant part is left to DataFusion, which prepares its search
//! once for all rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The function of DataFusion, but for parts in a column.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Strpos {
    inner: Arc<ScalarUDF>,
}

/// Puts the function in the place of DataFusion's.
pub(in crate::functions) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let inner = registry.udf("strpos")?;
    registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Strpos { inner })))?;
    Ok(())
}

impl ScalarUDFImpl for Strpos {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [_, ColumnarValue::Scalar(_)] = args.args.as_slice() {
            return self.inner.invoke_with_args(args);
        }
        let texts = ColumnarValue::values_to_arrays(&args.args)?;
        let [text, part] = texts.as_slice() else {
            return internal_err!("strpos has two arguments");
        };
        let (text, part) = (as_views(text)?, as_views(part)?);
        let pairs = text.as_string_view().iter().zip(part.as_string_view());
        let places: Int64Array = pairs.map(|(text, part)| place(text?, part?)).collect();
        let places = cast(&places, args.return_field.data_type())?;
        Ok(ColumnarValue::Array(places))
    }
}

fn as_views(texts: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(texts, &DataType::Utf8View)?)
}

fn place(text: &str, part: &str) -> Option<i64> {
    let place = match text.find(part) {
        Some(start) => text[..start].chars().count() + 1,
        None => 0,
    };
    i64::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn place_counts_characters_from_one() {
        for (text, part, expected) in [
            ("abc", "c", 3),
            ("Zürich", "i", 4),
            ("abc", "x", 0),
            ("abc", "", 1),
            ("", "", 1),
            ("", "a", 0),
        ] {
            assert_eq!(place(text, part), Some(expected), "{part:?} in {text:?}");
        }
    }
}
