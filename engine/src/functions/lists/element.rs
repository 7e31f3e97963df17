//! `list[n]`, without copying the list element by element.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, ListArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions_nested::extract::array_element_udf;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// DataFusion's `array_element`, with a way of its own to the answer where the number of the
/// element is a literal: messages hold lists of structs, most of one element, and that function
/// copies them field by field and row by row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Element {
    general: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Element {
    fn name(&self) -> &str {
        self.general.name()
    }

    fn aliases(&self) -> &[String] {
        self.general.aliases()
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        self.general.schema_name(arguments)
    }

    fn signature(&self) -> &Signature {
        self.general.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.general.return_type(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [
            ColumnarValue::Array(lists),
            ColumnarValue::Scalar(ScalarValue::Int64(Some(number))),
        ] = arguments.args.as_slice()
            && let Some(lists) = lists.as_list_opt::<i32>()
            && let Ok(number) = i32::try_from(*number)
        {
            return Ok(ColumnarValue::Array(elements(lists, number)?));
        }
        self.general.invoke_with_args(arguments)
    }
}

/// The element of each list with this number: counted from 1, or from the end if negative. What is
/// not there is null.
fn elements(lists: &ListArray, number: i32) -> Result<ArrayRef> {
    let (offsets, values) = (lists.offsets(), lists.values());
    let is_single = |pair: &[i32]| pair[1] - pair[0] == 1;
    if number == 1 && lists.null_count() == 0 && offsets.windows(2).all(is_single) {
        let first = offsets[0].unsigned_abs() as usize;
        return Ok(values.slice(first, lists.len()));
    }
    let places = offsets.windows(2).enumerate().map(|(row, pair)| {
        let place = if number < 0 {
            pair[1].checked_add(number)?
        } else {
            pair[0].checked_add(number - 1)?
        };
        let is_there = (pair[0]..pair[1]).contains(&place) && lists.is_valid(row);
        is_there.then_some(place.unsigned_abs())
    });
    Ok(take(values, &places.collect::<UInt32Array>(), None)?)
}

/// Puts [`Element`] in the place of `array_element`, whose name and answers it has: a subscript is
/// planned as the latter, whatever function is registered under its name.
#[derive(Debug)]
pub(in crate::functions) struct ElementRewrite {
    element: Arc<ScalarUDF>,
}

impl ElementRewrite {
    pub(in crate::functions) fn new() -> Self {
        let element = Element {
            general: array_element_udf(),
        };
        Self {
            element: Arc::new(element.into()),
        }
    }
}

impl FunctionRewrite for ElementRewrite {
    fn name(&self) -> &str {
        "element"
    }

    fn rewrite(
        &self,
        expression: Expr,
        _schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        Ok(match expression {
            Expr::ScalarFunction(ScalarFunction { func, args }) if func == array_element_udf() => {
                let func = Arc::clone(&self.element);
                Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
            }
            other => Transformed::no(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, ListArray, StructArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::{DataType, Field, Int64Type};
    use chrono_tz::Europe::Paris;
    use datafusion::functions_nested::extract::array_element_udf;
    use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
    use datafusion::scalar::ScalarValue;

    use super::{Element, ScalarUDFImpl as _};
    use crate::session::rows_context;

    /// Lists of structs with these lengths; of length none is a list that is null but not empty.
    fn lists(lengths: &[Option<usize>]) -> ListArray {
        let count = lengths
            .iter()
            .map(|length| length.unwrap_or(2))
            .sum::<usize>();
        let numbers = (0..count as i64).map(|number| (number % 5 != 3).then_some(number));
        let numbers: ArrayRef = Arc::new(numbers.collect::<Int64Array>());
        let nulls = (0..count)
            .map(|number| number % 7 != 4)
            .collect::<NullBuffer>();
        let field = Arc::new(Field::new("a", DataType::Int64, true));
        let structs = StructArray::new([field].to_vec().into(), vec![numbers], Some(nulls));
        let element = Arc::new(Field::new_list_field(structs.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(2)));
        let nulls = lengths.iter().map(Option::is_some).collect::<NullBuffer>();
        ListArray::new(element, offsets, Arc::new(structs), Some(nulls))
    }

    #[test]
    fn an_element_is_what_datafusion_says() {
        let element = Element {
            general: array_element_udf(),
        };
        let many = lists(&[Some(2), None, Some(0), Some(1), Some(3), Some(1), Some(1)]);
        let single = lists(&[Some(1); 9]);
        for lists in [
            many.slice(0, 0),
            many.slice(2, 5),
            many,
            single.slice(3, 4),
            single,
        ] {
            for number in [
                0,
                1,
                2,
                3,
                4,
                -1,
                -2,
                -4,
                i64::from(i32::MAX),
                i64::from(i32::MIN),
            ] {
                let arguments = |number| ScalarFunctionArgs {
                    args: vec![ColumnarValue::Array(Arc::new(lists.clone())), number],
                    arg_fields: Vec::new(),
                    number_rows: lists.len(),
                    return_field: Arc::new(Field::new("", lists.value_type(), true)),
                    config_options: Arc::default(),
                };
                let literal = ColumnarValue::Scalar(ScalarValue::Int64(Some(number)));
                let column: ArrayRef = Arc::new(Int64Array::from(vec![number; lists.len()]));
                let found = element.invoke_with_args(arguments(literal));
                let expected =
                    array_element_udf().invoke_with_args(arguments(ColumnarValue::Array(column)));
                let [found, expected] =
                    [found, expected].map(|answer| answer.unwrap().to_array(lists.len()).unwrap());
                assert_eq!(&found, &expected, "element {number} of {lists:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_subscript_is_planned_as_it() {
        let context = rows_context(Paris).unwrap();
        let plan = context.sql("SELECT make_array(7, 8)[x] AS found FROM (VALUES (2)) AS t(x)");
        let plan = plan.await.unwrap().into_optimized_plan().unwrap();
        assert!(
            format!("{plan:?}").contains("Element { general"),
            "{plan:?}"
        );
        let rows = context
            .execute_logical_plan(plan)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 8);
    }
}
