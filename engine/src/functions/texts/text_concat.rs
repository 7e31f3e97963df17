//! `a || b` of texts with a limit.
//!
//! DataFusion computes the operator without any: 40 common table expressions that each double a
//! text, or a recursive one, take all memory, and a text over 2 GiB makes the process panic. Here
//! it is a function like `concat`, but null when one side is.

use arrow::array::{Array as _, ArrayRef};
use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable as _, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

use crate::functions::texts::bounded;
use crate::functions::texts::output_size::Measure;

const NAME: &str = "||";

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextConcat {
    signature: Signature,
}

impl ScalarUDFImpl for TextConcat {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = types else {
            return internal_err!("|| has two sides");
        };
        let (left, right) =
            BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [left, right] = types else {
            return internal_err!("|| has two sides");
        };
        BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type()
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let sides = args.arg_fields.iter();
        let types: Vec<_> = sides.clone().map(|side| side.data_type().clone()).collect();
        let is_nullable = sides.clone().any(|side| side.is_nullable());
        Ok(Arc::new(Field::new(
            NAME,
            self.return_type(&types)?,
            is_nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        bounded::check(NAME, Measure::Concat, &args)?;
        let is_constant = args
            .args
            .iter()
            .all(|side| matches!(side, ColumnarValue::Scalar(_)));
        let sides: Vec<ArrayRef> = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = sides.as_slice() else {
            return internal_err!("|| has two sides");
        };
        let rows: ArrayRef = concat_elements_dyn(left, right)?;
        if is_constant && rows.len() == 1 {
            let value = datafusion::common::ScalarValue::try_from_array(&rows, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(rows))
    }
}

/// Puts the function in the place of the operator.
#[derive(Debug)]
pub(in crate::functions) struct TextConcatRewrite {
    function: Arc<ScalarUDF>,
}

impl TextConcatRewrite {
    pub(in crate::functions) fn new() -> Self {
        let function = TextConcat {
            signature: Signature::user_defined(Volatility::Immutable),
        };
        Self {
            function: Arc::new(function.into()),
        }
    }
}

impl FunctionRewrite for TextConcatRewrite {
    fn name(&self) -> &str {
        "text_concat"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::StringConcat,
            right,
        }) = expr
        else {
            return Ok(Transformed::no(expr));
        };
        let sides = [left.get_type(schema)?, right.get_type(schema)?];
        if sides.iter().any(DataType::is_list) {
            let op = Operator::StringConcat;
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
                left,
                op,
                right,
            })));
        }
        Ok(Transformed::yes(Expr::ScalarFunction(
            ScalarFunction::new_udf(Arc::clone(&self.function), vec![*left, *right]),
        )))
    }
}
