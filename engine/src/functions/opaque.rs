//! A value that the optimizer does not look into, and does not take for never null.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// `value`, as it is.
pub(crate) fn call(value: Expr) -> Expr {
    ScalarUDF::from(OpaqueFunction::new()).call(vec![value])
}

/// Whether `value` is one already.
pub(crate) fn is_opaque(value: &Expr) -> bool {
    matches!(value, Expr::ScalarFunction(function) if function.func.inner().is::<OpaqueFunction>())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OpaqueFunction {
    signature: Signature,
}

impl OpaqueFunction {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for OpaqueFunction {
    fn name(&self) -> &str {
        "opaque"
    }

    fn schema_name(&self, value: &[Expr]) -> Result<String> {
        Ok(value[0].schema_name().to_string())
    }

    fn display_name(&self, value: &[Expr]) -> Result<String> {
        Ok(value[0].to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("opaque returns the field of its argument")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let field = arguments.arg_fields[0].as_ref().clone();
        Ok(Arc::new(field.with_nullable(true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(arguments.args[0].clone())
    }
}
