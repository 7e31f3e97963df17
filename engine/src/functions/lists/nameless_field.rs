//! `message['']`: the field of a struct whose name is the empty text. JSON has such keys, and
//! DataFusion's `get_field` refuses to be planned for them ("Field name must be a non-empty
//! string").

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, StructArray};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{
    ColumnarValue, GetFieldAccess, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The field without a name of a struct.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NamelessField {
    signature: Signature,
}

impl NamelessField {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for NamelessField {
    fn name(&self) -> &str {
        "nameless_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let [DataType::Struct(fields)] = arguments else {
            return plan_err!("only a struct has fields; {arguments:?} was given");
        };
        let field = fields.iter().find(|field| is_nameless(field));
        let field = field.map(|field| field.data_type().clone());
        field.map_or_else(
            || plan_err!("the struct has no field with an empty name"),
            Ok,
        )
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [structs] = <[ColumnarValue; 1]>::try_from(arguments.args)
            .or_else(|_| exec_err!("nameless_field takes one argument"))?;
        let is_scalar = matches!(structs, ColumnarValue::Scalar(_));
        let structs = structs.into_array(arguments.number_rows)?;
        let values = values(structs.as_struct())?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}

fn is_nameless(field: &Arc<Field>) -> bool {
    field.name().is_empty()
}

/// Null where the struct is.
fn values(structs: &StructArray) -> Result<arrow::array::ArrayRef> {
    let Some(place) = structs.fields().iter().position(is_nameless) else {
        return exec_err!("the struct has no field with an empty name");
    };
    let values = Arc::clone(structs.column(place));
    if structs.null_count() == 0 {
        return Ok(values);
    }
    Ok(nullif(&values, &arrow::compute::is_null(structs)?)?)
}

/// Plans the access to a field without a name; it must come before DataFusion's own planners.
#[derive(Debug)]
pub(in crate::functions) struct NamelessFieldPlanner(Arc<ScalarUDF>);

impl NamelessFieldPlanner {
    pub(in crate::functions) fn new() -> Self {
        Self(Arc::new(NamelessField::new().into()))
    }
}

impl ExprPlanner for NamelessFieldPlanner {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        match &access.field_access {
            GetFieldAccess::NamedStructField { name } if is_empty_text(name) => {
                Ok(PlannerResult::Planned(self.0.call(vec![access.expr])))
            }
            GetFieldAccess::NamedStructField { .. }
            | GetFieldAccess::ListIndex { .. }
            | GetFieldAccess::ListRange { .. } => Ok(PlannerResult::Original(access)),
        }
    }
}

fn is_empty_text(name: &ScalarValue) -> bool {
    matches!(name.try_as_str(), Some(Some("")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array as _, AsArray as _, Int64Array, StructArray};
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{DataType, Field, Fields, Int64Type};

    use super::values;

    #[test]
    fn the_field_is_null_where_the_struct_is() {
        let fields = Fields::from(vec![Field::new("", DataType::Int64, true)]);
        let numbers = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let structs = StructArray::new(
            fields,
            vec![numbers],
            Some(NullBuffer::from(vec![true, false, true])),
        );
        let found = values(&structs).expect("there is one");
        let found: Vec<_> = found.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(found, [Some(1), None, None]);
        assert_eq!(structs.len(), 3);
    }
}
