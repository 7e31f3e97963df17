//! Whether a value equals one of others: `x IN (a, b)` in a form that DataFusion does not look
//! into.

use std::sync::Arc;

use arrow::array::{AsArray as _, BooleanArray};
use arrow::compute::or_kleene;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr_common::datum::apply_cmp;

pub(crate) const NAME: &str = "any_equal";

/// Null if none of `items` equals `value` and one of them is null, or `value` is.
pub(crate) fn call(value: Expr, items: Vec<Expr>) -> Expr {
    let arguments = std::iter::once(value).chain(items).collect();
    ScalarUDF::from(AnyEqual::new()).call(arguments)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AnyEqual {
    signature: Signature,
}

impl AnyEqual {
    fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for AnyEqual {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let [value, items @ ..] = arguments.args.as_slice() else {
            return internal_err!("{NAME} takes a value");
        };
        let mut found = BooleanArray::from(vec![false; rows]);
        for item in items {
            let equal = apply_cmp(Operator::Eq, value, item)?.into_array(rows)?;
            found = or_kleene(&found, equal.as_boolean())?;
        }
        Ok(ColumnarValue::Array(Arc::new(found)))
    }
}
