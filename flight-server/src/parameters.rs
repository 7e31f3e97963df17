//! Parameters of a statement: which it has, and values for them. Values are bound to the plan and never become
//! text.

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

use crate::wire::{Wire, plain};

/// Most bytes of the values of one statement.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// Replaces each `?` by `$1`, `$2`, …: that is what JDBC and ODBC write and the planner does not know.
pub(crate) fn numbered(text: &str) -> String {
    if !text.contains('?') {
        return text.to_owned();
    }
    // What cannot be taken apart is left for the parser to complain about.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
        return text.to_owned();
    };
    let places = tokens
        .iter()
        .filter(|token| begins_with_mark(&token.token))
        .map(|token| (token.span.start.line, token.span.start.column));
    let mut places = places.peekable();
    let mut numbered = String::with_capacity(text.len() + 16);
    let (mut line, mut column, mut count) = (1, 1, 0);
    for character in text.chars() {
        if places.peek() == Some(&(line, column)) {
            places.next();
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

/// The tokenizer takes `?-` and the like for one operator.
fn begins_with_mark(token: &Token) -> bool {
    match token {
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::Word(_) => false,
        Token::Whitespace(_) => false,
        other => other.to_string().starts_with('?'),
    }
}

/// The parameters of `plan`, in their order: numbered ones by number, else by name.
pub(crate) fn schema(plan: &LogicalPlan) -> Result<Schema, DataFusionError> {
    let mut types = plan.get_parameter_types()?;
    take_types_from_casts(plan, &mut types)?;
    take_types_from_limits(plan, &mut types)?;
    let ordered: BTreeMap<(usize, &str), &Option<DataType>> = types
        .iter()
        .map(|(id, data_type)| {
            let name = id.trim_start_matches('$');
            ((name.parse().unwrap_or(usize::MAX), name), data_type)
        })
        .collect();
    let fields = ordered.into_iter().map(|((_, name), data_type)| {
        // A driver needs some type to convert its value to; text becomes whatever the place asks for.
        let data_type = data_type.clone().unwrap_or(DataType::Utf8);
        Field::new(name, bindable(data_type), true)
    });
    let declared = Schema::new(fields.collect::<Vec<_>>());
    Ok(Wire::of(&declared).schema().as_ref().clone())
}

/// The type to announce for a parameter of `data_type`.
///
/// The JDBC driver writes milliseconds whatever unit is announced (apache/arrow-java#838), so that an instant of
/// 2026 would arrive as one of 1970. Values of a finer unit can be bound all the same.
fn bindable(data_type: DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone),
        DataType::Time64(_) => DataType::Time32(TimeUnit::Millisecond),
        other => other,
    }
}

/// `CAST($1 AS BIGINT)` says what it wants, which the planner does not take as a hint.
fn take_types_from_casts(
    plan: &LogicalPlan,
    types: &mut HashMap<String, Option<DataType>>,
) -> Result<(), DataFusionError> {
    let mut look = |expression: &Expr| {
        let (inner, wanted) = match expression {
            Expr::Cast(cast) => (&cast.expr, &cast.field),
            Expr::TryCast(cast) => (&cast.expr, &cast.field),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if let Expr::Placeholder(placeholder) = inner.as_ref()
            && let Some(unknown @ None) = types.get_mut(&placeholder.id)
        {
            *unknown = Some(wanted.data_type().clone());
        }
        Ok(TreeNodeRecursion::Continue)
    };
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| expression.apply(&mut look))
    })?;
    Ok(())
}

/// `LIMIT $1` and `OFFSET $1` want a whole number, of which the planner says nothing either.
fn take_types_from_limits(
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

/// The values of `row` for the parameters that `expected` names.
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
    let given = row.schema();
    let mut named: HashMap<String, ScalarValue> = given
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

/// The value in `column`, as the type that a literal of it would have.
///
/// Some clients send every value as a member of a dense union, or as a dictionary. The planner would compare a
/// union with a number as two texts, and so find other rows without an error.
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
    let column = plain(&column).map_err(|error| refused(error.to_string()))?;
    let value = ScalarValue::try_from_array(&column, 0);
    value.map_err(|error| refused(error.strip_backtrace()))
}

/// What a client sent as values: a message with the columns, then one with the row.
#[derive(Clone, PartialEq, Message)]
struct Sent {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<FlightData>,
}

/// Values as they are kept and lie in a ticket.
pub(crate) fn sealed(messages: Vec<FlightData>) -> Bytes {
    Sent { messages }.encode_to_vec().into()
}

/// The row in what [`sealed`] returned; `None` when it has no columns, which is how some clients bind nothing.
pub(crate) fn open(sealed: &Bytes) -> Result<Option<RecordBatch>, Status> {
    let refused = |why: &str| Status::invalid_argument(format!("the values cannot be read: {why}"));
    let sent = Sent::decode(sealed.as_ref()).map_err(|error| refused(&error.to_string()))?;
    let Some(columns) = sent.messages.first() else {
        return Ok(None);
    };
    for message in &sent.messages {
        refuse_compressed(message)?;
    }
    let columns = Schema::try_from(columns).map_err(|error| refused(&error.to_string()))?;
    if columns.fields().is_empty() {
        return Ok(None);
    }
    let batches = batches(&sent.messages, columns);
    let mut batches = batches.map_err(|error| refused(&error.to_string()))?;
    match (batches.pop(), batches.len()) {
        (Some(row), 0) if row.num_rows() == 1 => Ok(Some(row)),
        _ => Err(Status::invalid_argument("bind one row of values at a time")),
    }
}

/// The rows in `messages`, the first of which has `columns`; dictionaries come before the rows that use them.
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

/// The reader takes the size of what it unpacks from the message, whatever that says.
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
            assert_eq!(numbered(text), expected);
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
    async fn parameters_are_listed_in_order_with_the_types_that_their_places_ask_for() {
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

    fn sent(options: IpcWriteOptions, batch: &RecordBatch) -> Bytes {
        let generator = IpcDataGenerator::default();
        let mut tracker = DictionaryTracker::new(false);
        // Dictionaries get their numbers here.
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
        sealed(messages)
    }

    #[test]
    fn unions_and_encodings_of_other_clients_are_bound_as_their_values() {
        let check = |column: ArrayRef, expected: ScalarValue| {
            let row = RecordBatch::try_from_iter([("1", column)]).expect("a row");
            let row = open(&sent(IpcWriteOptions::default(), &row))
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
    fn values_come_back_as_they_were() {
        let plain = IpcWriteOptions::default;
        assert_eq!(open(&sent(plain(), &row())).expect("read"), Some(row()));
        assert_eq!(open(&Bytes::new()).expect("nothing"), None);
        assert!(open(&Bytes::from_static(b"\xff")).is_err());
        assert!(open(&sent(plain(), &row().slice(0, 0))).is_err());
    }

    #[test]
    fn values_that_would_have_to_be_unpacked_are_refused() {
        let packing = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::LZ4_FRAME))
            .expect("lz4 is known");
        let refused = open(&sent(packing, &row())).expect_err("compressed");
        assert!(refused.message().contains("compressed"), "{refused}");
    }
}
