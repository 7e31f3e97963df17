//! The parameters of a statement, and the values that a client binds to them. Values are bound to
//! the plan and never become text.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_dictionary;
use arrow::ipc::root_as_message;
use arrow_flight::FlightData;
use arrow_flight::utils::flight_data_to_arrow_batch;
use bytes::Bytes;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use prost::Message;
use tonic::Status;

use crate::statements::client_types::{ClientTypes, to_client_array};

/// Limit of the values of one statement in bytes.
pub(crate) const BYTES_MAX: usize = 1 << 20;

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
        Field::new(name, parameter_type(data_type), true)
    });
    let declared = Schema::new(fields.collect::<Vec<_>>());
    Ok(ClientTypes::of(&declared).schema().as_ref().clone())
}

/// The type that a parameter of `data_type` is described as.
///
/// The JDBC driver sends milliseconds whatever unit the server describes (apache/arrow-java#838),
/// so that an instant of 2026 would arrive as one of 1970. Clients may still bind values of a finer
/// unit.
fn parameter_type(data_type: DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone),
        DataType::Time64(_) => DataType::Time32(TimeUnit::Millisecond),
        other => other,
    }
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
pub(crate) fn values(row: &RecordBatch, expected: &Schema) -> Result<ParamValues, Status> {
    if row.num_rows() != 1 || row.num_columns() != expected.fields().len() {
        return Err(Status::invalid_argument(format!(
            "the statement has {} parameters and takes one row of them; {} rows of {} values were bound",
            expected.fields().len(),
            row.num_rows(),
            row.num_columns(),
        )));
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
        None => Err(Status::invalid_argument(format!(
            "no value was bound to parameter \"{name}\""
        ))),
    });
    Ok(ParamValues::from(chosen.collect::<Result<Vec<_>, _>>()?))
}

/// The value in `column`, with the type of a literal.
///
/// Some clients send every value as a member of a dense union, or as a dictionary. The planner
/// would compare a union with a number as two texts, and so return wrong rows without an error.
fn value(name: &str, column: &ArrayRef) -> Result<ScalarValue, Status> {
    let refused = |error: String| {
        Status::invalid_argument(format!(
            "the value of parameter \"{name}\" cannot be read: {error}"
        ))
    };
    let mut column = Arc::clone(column);
    while let DataType::Union(..) = column.data_type() {
        column = column.as_union().value(0);
    }
    let column = to_client_array(&column).map_err(|error| refused(error.to_string()))?;
    let value = ScalarValue::try_from_array(&column, 0);
    value.map_err(|error| refused(error.strip_backtrace()))
}

/// The values that a client bound: a message with the columns, then one with the row.
#[derive(Clone, PartialEq, Message)]
struct BoundValues {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<FlightData>,
}

/// Encodes values for a prepared statement or a ticket.
pub(crate) fn encode_values(messages: Vec<FlightData>) -> Bytes {
    BoundValues { messages }.encode_to_vec().into()
}

/// The row that [`encode_values`] encoded; `None` when it has no columns, which some clients send
/// to bind nothing.
pub(crate) fn decode_values(encoded: &Bytes) -> Result<Option<RecordBatch>, Status> {
    let refused =
        |reason: &str| Status::invalid_argument(format!("the values cannot be read: {reason}"));
    let values = BoundValues::decode(encoded.as_ref());
    let values = values.map_err(|error| refused(&error.to_string()))?;
    let Some(columns) = values.messages.first() else {
        return Ok(None);
    };
    for message in &values.messages {
        refuse_compressed(message)?;
    }
    let columns = Schema::try_from(columns).map_err(|error| refused(&error.to_string()))?;
    if columns.fields().is_empty() {
        return Ok(None);
    }
    let batches = batches(&values.messages, columns);
    let mut batches = batches.map_err(|error| refused(&error.to_string()))?;
    match (batches.pop(), batches.len()) {
        (Some(row), 0) if row.num_rows() == 1 => Ok(Some(row)),
        _ => Err(Status::invalid_argument("bind one row of values at a time")),
    }
}

/// The rows in `messages`, the first of which has `columns`. Dictionaries precede the rows that use
/// them.
fn batches(messages: &[FlightData], columns: Schema) -> Result<Vec<RecordBatch>, ArrowError> {
    let columns = Arc::new(columns);
    let (mut dictionaries, mut batches) = (HashMap::new(), Vec::new());
    for message in messages.iter().skip(1) {
        let header = root_as_message(&message.data_header);
        let header = header.map_err(|error| ArrowError::ParseError(error.to_string()))?;
        if let Some(dictionary) = header.header_as_dictionary_batch() {
            let body = Buffer::from(message.data_body.as_ref());
            let version = header.version();
            read_dictionary(&body, dictionary, &columns, &mut dictionaries, &version)?;
        } else {
            let columns = Arc::clone(&columns);
            batches.push(flight_data_to_arrow_batch(message, columns, &dictionaries)?);
        }
    }
    Ok(batches)
}

/// Refuses compressed values: the IPC reader allocates the uncompressed size that the message
/// claims.
fn refuse_compressed(message: &FlightData) -> Result<(), Status> {
    let header = root_as_message(&message.data_header);
    let rows = header.map(|header| {
        let dictionary = header.header_as_dictionary_batch();
        let values = dictionary.and_then(|dictionary| dictionary.data());
        values.or_else(|| header.header_as_record_batch())
    });
    match rows {
        Ok(Some(rows)) if rows.compression().is_some() => Err(Status::invalid_argument(
            "the values are compressed; bind them uncompressed",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(Status::invalid_argument(format!(
            "the values cannot be read: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        DictionaryArray, Int64Array, RunArray, StringArray, StringViewArray, UnionArray,
    };
    use arrow::datatypes::{Int8Type, Int32Type};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{
        DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
    };

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
                ("1", DataType::Timestamp(TimeUnit::Millisecond, None)),
                ("2", DataType::Time32(TimeUnit::Millisecond)),
            ],
        )
        .await;
        let text = "SELECT 1 LIMIT $1 OFFSET $2";
        check(text, &[("1", DataType::Int64), ("2", DataType::Int64)]).await;
        let text = "SELECT 1 WHERE DATE '2026-01-01' > $since";
        check(text, &[("since", DataType::Date32)]).await;
    }

    fn encoded_row(options: IpcWriteOptions, batch: &RecordBatch) -> Bytes {
        let generator = IpcDataGenerator::default();
        let mut tracker = DictionaryTracker::new(false);
        // Assigns the ids of dictionaries.
        let schema = generator.schema_to_bytes_with_dictionary_tracker(
            batch.schema_ref(),
            &mut tracker,
            &options,
        );
        let mut context = IpcWriteContext::default();
        let encoded = generator.encode(batch, &mut tracker, &options, &mut context);
        let (dictionaries, rows) = encoded.expect("it can be encoded");
        let mut messages = vec![FlightData::from(schema)];
        messages.extend(dictionaries.into_iter().map(FlightData::from));
        messages.push(rows.into());
        encode_values(messages)
    }

    #[test]
    fn unions_and_dictionaries_are_bound_as_their_values() {
        let check = |column: ArrayRef, expected: ScalarValue| {
            let row = RecordBatch::try_from_iter([("1", column)]).expect("a row");
            let row = decode_values(&encoded_row(IpcWriteOptions::default(), &row))
                .expect("read")
                .expect("a row");
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

    #[test]
    fn encoded_values_are_decoded_unchanged() {
        let to_client_array = IpcWriteOptions::default;
        assert_eq!(
            decode_values(&encoded_row(to_client_array(), &row())).expect("read"),
            Some(row())
        );
        assert_eq!(decode_values(&Bytes::new()).expect("nothing"), None);
        assert!(decode_values(&Bytes::from_static(b"\xff")).is_err());
        assert!(decode_values(&encoded_row(to_client_array(), &row().slice(0, 0))).is_err());
    }

    #[test]
    fn compressed_values_are_refused() {
        let compressed = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::LZ4_FRAME))
            .expect("lz4 is known");
        let refused = decode_values(&encoded_row(compressed, &row())).expect_err("compressed");
        assert!(refused.message().contains("compressed"), "{refused}");
    }
}
