//! The parameters of a statement, and the values that a client binds to them. Values are bound to
//! the plan and never become text.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::Error;
use crate::statements::client_types::{ClientTypes, to_client_array};

/// Replaces each `?`, the placeholder of JDBC and ODBC, by `$1`, `$2`, …, those of the planner.
pub(crate) fn number_placeholders(text: &str) -> String {
    if !text.contains('?') {
        return text.to_owned();
    }
    // The parser reports why the text has no tokens.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
        return text.to_owned();
    };
    let positions = tokens
        .iter()
        .filter(|token| starts_with_question_mark(&token.token))
        .map(|token| (token.span.start.line, token.span.start.column));
    let mut positions = positions.peekable();
    let mut numbered = String::with_capacity(text.len() + 16);
    let (mut line, mut column, mut count) = (1, 1, 0);
    for character in text.chars() {
        if positions.peek() == Some(&(line, column)) {
            positions.next();
            count += 1;
            numbered.push_str(&format!("${count}"));
        } else {
            numbered.push(character);
        }
        if character == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    numbered
}

/// Whether `token` is a placeholder, or an operator such as `?-` that the tokenizer made of one.
fn starts_with_question_mark(token: &Token) -> bool {
    match token {
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::Word(_) => false,
        Token::Whitespace(_) => false,
        other => other.to_string().starts_with('?'),
    }
}

/// The parameters of `plan`, ordered by number or by name.
pub(crate) fn schema(plan: &LogicalPlan) -> Result<Schema, DataFusionError> {
    let mut types = plan.get_parameter_types()?;
    infer_types_from_casts(plan, &mut types)?;
    infer_types_from_limits(plan, &mut types)?;
    let ordered: BTreeMap<(usize, &str), &Option<DataType>> = types
        .iter()
        .map(|(id, data_type)| {
            let name = id.trim_start_matches('$');
            ((name.parse().unwrap_or(usize::MAX), name), data_type)
        })
        .collect();
    let fields = ordered.into_iter().map(|((_, name), data_type)| {
        // A driver needs a type to convert its value to, and the planner casts text to any other.
        let data_type = data_type.clone().unwrap_or(DataType::Utf8);
        Field::new(name, data_type, true)
    });
    let declared = Schema::new(fields.collect::<Vec<_>>());
    Ok(ClientTypes::of(&declared).schema().as_ref().clone())
}

/// Takes the type of `$1` from `CAST($1 AS BIGINT)`, which the planner does not.
fn infer_types_from_casts(
    plan: &LogicalPlan,
    types: &mut HashMap<String, Option<DataType>>,
) -> Result<(), DataFusionError> {
    let mut visit = |expression: &Expr| {
        let (inner, target) = match expression {
            Expr::Cast(cast) => (&cast.expr, &cast.field),
            Expr::TryCast(cast) => (&cast.expr, &cast.field),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if let Expr::Placeholder(placeholder) = inner.as_ref()
            && let Some(unknown @ None) = types.get_mut(&placeholder.id)
        {
            *unknown = Some(target.data_type().clone());
        }
        Ok(TreeNodeRecursion::Continue)
    };
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| expression.apply(&mut visit))
    })?;
    Ok(())
}

/// Gives `$1` of `LIMIT $1` and `OFFSET $1` an integer type, which the planner does not.
fn infer_types_from_limits(
    plan: &LogicalPlan,
    types: &mut HashMap<String, Option<DataType>>,
) -> Result<(), DataFusionError> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for count in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(placeholder) = count.as_ref()
                    && let Some(unknown @ None) = types.get_mut(&placeholder.id)
                {
                    *unknown = Some(DataType::Int64);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The values of `row` for the parameters in `expected`.
pub(crate) fn values(row: &RecordBatch, expected: &Schema) -> Result<ParamValues, Error> {
    if row.num_rows() != 1 || row.num_columns() != expected.fields().len() {
        return Err(Error::ValueCount {
            expected: expected.fields().len(),
            rows: row.num_rows(),
            values: row.num_columns(),
        });
    }
    let pairs = expected.fields().iter().zip(row.columns());
    let scalars = pairs.map(|(field, column)| value(field.name(), column));
    let scalars = scalars.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&String> = expected.fields().iter().map(|field| field.name()).collect();
    if names.iter().all(|name| name.parse::<usize>().is_ok()) {
        return Ok(ParamValues::from(scalars));
    }
    let columns = row.schema();
    let mut named: HashMap<String, ScalarValue> = columns
        .fields()
        .iter()
        .map(|field| field.name().trim_start_matches(['$', ':']).to_owned())
        .zip(scalars)
        .collect();
    let chosen = names.into_iter().map(|name| match named.remove(name) {
        Some(value) => Ok((name.clone(), value)),
        None => Err(Error::UnboundParameter { name: name.clone() }),
    });
    Ok(ParamValues::from(chosen.collect::<Result<Vec<_>, _>>()?))
}

/// The value in `column`, with the type of a literal.
///
/// Some clients send every value as a member of a dense union, or as a dictionary. The planner
/// would compare a union with a number as two texts, and so return wrong rows without an error.
fn value(name: &str, column: &ArrayRef) -> Result<ScalarValue, Error> {
    let refused = |reason: String| Error::UnreadableValue {
        name: name.to_owned(),
        reason,
    };
    let mut column = Arc::clone(column);
    while let DataType::Union(..) = column.data_type() {
        column = column.as_union().value(0);
    }
    let column = to_client_array(&column).map_err(|error| refused(error.to_string()))?;
    let value = ScalarValue::try_from_array(&column, 0);
    value.map_err(|error| refused(error.strip_backtrace()))
}

/// Fails when a parameter has no value; `unbound` has those that lack one.
pub(crate) fn require_bound(unbound: &Schema) -> Result<(), Error> {
    let names: Vec<_> = unbound
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let names = names.join(", ");
    Err(Error::UnboundParameters { names })
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        DictionaryArray, Int64Array, RunArray, StringArray, StringViewArray, UnionArray,
    };
    use arrow::datatypes::{Int8Type, Int32Type, TimeUnit};

    use super::*;

    fn row() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("b", Arc::new(Int64Array::from(vec![7])) as ArrayRef),
            ("a", Arc::new(StringArray::from(vec!["x"])) as ArrayRef),
        ])
        .expect("a row")
    }

    fn expecting(names: [&str; 2]) -> Schema {
        Schema::new(
            names
                .map(|name| Field::new(name, DataType::Utf8, true))
                .to_vec(),
        )
    }

    #[test]
    fn question_marks_are_numbered_outside_of_quotes_and_comments() {
        for (text, expected) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT ?, ?", "SELECT $1, $2"),
            ("SELECT a=?-1", "SELECT a=$1-1"),
            (
                "SELECT '?', \"?\", ? -- ?\n, ?",
                "SELECT '?', \"?\", $1 -- ?\n, $2",
            ),
            ("SELECT 'é?', /* ? */ ?", "SELECT 'é?', /* ? */ $1"),
            ("SELECT 'open ?", "SELECT 'open ?"),
        ] {
            assert_eq!(number_placeholders(text), expected);
        }
    }

    #[test]
    fn values_are_bound_by_position_or_by_name() {
        let ParamValues::List(by_position) = values(&row(), &expecting(["1", "2"])).expect("two")
        else {
            panic!("not a list");
        };
        assert_eq!(by_position[0].value, ScalarValue::Int64(Some(7)));
        let ParamValues::Map(by_name) = values(&row(), &expecting(["a", "b"])).expect("two") else {
            panic!("not a map");
        };
        assert_eq!(by_name["b"].value, ScalarValue::Int64(Some(7)));
        assert!(values(&row(), &expecting(["a", "c"])).is_err());
        assert!(values(&row().slice(0, 0), &expecting(["1", "2"])).is_err());
    }

    #[tokio::test]
    async fn parameters_are_ordered_and_have_inferred_types() {
        let check = |text: &'static str, expected: &'static [(&str, DataType)]| async move {
            let context = datafusion::prelude::SessionContext::new();
            let plan = context.state().create_logical_plan(text).await.expect(text);
            let found = schema(&plan).expect(text);
            let found: Vec<_> = found
                .fields()
                .iter()
                .map(|field| (field.name().as_str(), field.data_type().clone()))
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check("SELECT 1", &[]).await;
        let text = "SELECT CAST($2 AS BIGINT), $10, $1 + 1";
        let expected = &[
            ("1", DataType::Int64),
            ("2", DataType::Int64),
            ("10", DataType::Utf8),
        ];
        check(text, expected).await;
        let text = "SELECT CAST($1 AS TIMESTAMP), CAST($2 AS TIME)";
        check(
            text,
            &[
                ("1", DataType::Timestamp(TimeUnit::Nanosecond, None)),
                ("2", DataType::Time64(TimeUnit::Nanosecond)),
            ],
        )
        .await;
        let text = "SELECT 1 LIMIT $1 OFFSET $2";
        check(text, &[("1", DataType::Int64), ("2", DataType::Int64)]).await;
        let text = "SELECT 1 WHERE DATE '2026-01-01' > $since";
        check(text, &[("since", DataType::Date32)]).await;
    }

    #[test]
    fn unions_and_dictionaries_are_bound_as_their_values() {
        let check = |column: ArrayRef, expected: ScalarValue| {
            let row = RecordBatch::try_from_iter([("1", column)]).expect("a row");
            let one = Schema::new(vec![Field::new("1", DataType::Utf8, true)]);
            let ParamValues::List(found) = values(&row, &one).expect("one value") else {
                panic!("not a list");
            };
            assert_eq!(found[0].value, expected);
        };
        let text = ScalarValue::from("x");
        let coded: DictionaryArray<Int8Type> = vec!["x"].into_iter().collect();
        check(Arc::new(coded), text.clone());
        let runs: RunArray<Int32Type> = vec!["x"].into_iter().collect();
        check(Arc::new(runs), text.clone());
        check(Arc::new(StringViewArray::from(vec!["x"])), text.clone());
        let members = || -> Vec<ArrayRef> {
            let coded: DictionaryArray<Int8Type> = vec![Some("x"), None].into_iter().collect();
            vec![
                Arc::new(Int64Array::from(vec![Some(7), None])),
                Arc::new(coded),
            ]
        };
        let union = |member: i8, offset: i32| -> ArrayRef {
            let fields = members().into_iter().zip(["int", "text"]).zip(0..);
            let fields = fields.map(|((array, name), id)| {
                (
                    id,
                    Arc::new(Field::new(name, array.data_type().clone(), true)),
                )
            });
            let (types, offsets) = (vec![member].into(), Some(vec![offset].into()));
            let union = UnionArray::try_new(fields.collect(), types, offsets, members());
            Arc::new(union.expect("a union"))
        };
        check(union(0, 0), ScalarValue::Int64(Some(7)));
        check(union(0, 1), ScalarValue::Int64(None));
        check(union(1, 0), text);
        check(union(1, 1), ScalarValue::Utf8(None));
    }
}
