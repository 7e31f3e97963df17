//! A field of every element of a list.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, ListArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// `list_field(list, 'a', 'b')`: the list of what the elements of `list` have at `a.b`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::functions) struct ListField {
    signature: Signature,
}

impl ListField {
    pub(in crate::functions) fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for ListField {
    fn name(&self) -> &str {
        "list_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type depends on the names of the fields")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let list = arguments.arg_fields.first().map(|field| field.data_type());
        let Some(DataType::List(element)) = list else {
            return plan_err!("list_field takes a list and the names of fields");
        };
        let mut found = element.as_ref();
        for name in names(&arguments.scalar_arguments[1..])? {
            let DataType::Struct(fields) = found.data_type() else {
                return plan_err!("list_field: \"{}\" has no fields", found.name());
            };
            let Some((_, field)) = fields.find(name) else {
                return plan_err!("list_field: there is no field \"{name}\"");
            };
            found = field;
        }
        let element = Field::new_list_field(found.data_type().clone(), true);
        let list = DataType::List(Arc::new(element));
        Ok(Arc::new(Field::new(self.name(), list, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars: Vec<_> = arguments.args[1..]
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Scalar(value) => Some(value),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let lists = arguments.args[0].to_array(arguments.number_rows)?;
        let lists = lists.as_list::<i32>();
        let mut found = Arc::clone(lists.values());
        for name in names(&scalars)? {
            let parents = found.as_struct();
            let Some(column) = parents.column_by_name(name) else {
                return exec_err!("list_field: there is no field \"{name}\"");
            };
            // Below a struct that is null everything is null, whatever stands there.
            let nulls = NullBuffer::union(parents.nulls(), column.nulls());
            found = make_array(column.to_data().into_builder().nulls(nulls).build()?);
        }
        let element = Arc::new(Field::new_list_field(found.data_type().clone(), true));
        let lists = ListArray::try_new(
            element,
            lists.offsets().clone(),
            found,
            lists.nulls().cloned(),
        )?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

/// The names of fields, which have to be literals: the type of the result depends on them.
fn names<'a>(arguments: &[Option<&'a ScalarValue>]) -> Result<Vec<&'a str>> {
    let name = |argument: &Option<&'a ScalarValue>| argument.and_then(ScalarValue::try_as_str)?;
    let names: Option<Vec<_>> = arguments.iter().map(name).collect();
    match names {
        Some(names) if !names.is_empty() => Ok(names),
        _ => plan_err!("list_field takes the names of fields as literal texts"),
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use chrono_tz::Europe::Paris;

    use crate::session::rows_context;

    async fn answer(sql: &str) -> Result<String, String> {
        let rows = async { rows_context(Paris)?.sql(sql).await?.collect().await };
        let rows = rows.await.map_err(|error| error.to_string())?;
        let table = pretty_format_batches(&rows).map_err(|error| error.to_string())?;
        let row = table.to_string().lines().nth(3).map(str::to_owned);
        Ok(row.unwrap_or_default().trim_matches(['|', ' ']).to_owned())
    }

    #[tokio::test]
    async fn list_field_looks_into_the_elements_of_a_list() {
        let steps = "[named_struct('main', named_struct('temp', 1)), named_struct('main', NULL), NULL, named_struct('main', named_struct('temp', -3))]";
        for (list, names, found) in [
            (steps, "'main', 'temp'", "[1, , , -3]"),
            ("array_slice([named_struct('a', 1)], 2, 3)", "'a'", "[]"),
            ("CASE WHEN 1 > 2 THEN [named_struct('a', 1)] END", "'a'", ""),
        ] {
            let sql = format!("SELECT list_field({list}, {names}) AS found");
            assert_eq!(answer(&sql).await.as_deref(), Ok(found), "{sql}");
        }
        for (arguments, complaint) in [
            ("1, 'a'", "takes a list"),
            ("[1], 'a'", "has no fields"),
            ("[named_struct('a', 1)], 'b'", "no field \"b\""),
            ("[named_struct('a', 1)]", "names of fields"),
            (
                "[named_struct('a', 1)], concat('a', chr(98))",
                "literal texts",
            ),
        ] {
            let sql = format!("SELECT list_field({arguments}) AS found");
            let error = answer(&sql).await.expect_err(arguments);
            assert!(error.contains(complaint), "{error}");
        }
    }
}
