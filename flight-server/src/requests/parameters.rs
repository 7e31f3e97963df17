//! The parameters of a statement as Flight describes them, and the values that clients bind to
//! them. The query service binds the decoded row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_dictionary;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::FlightData;
use arrow_flight::utils::flight_data_to_arrow_batch;
use bytes::Bytes;
use prost::Message;
use query_service::Error;
use tonic::Status;

use crate::status;

/// Limit of the values of one statement in bytes.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// The columns that `parameters` are described as.
///
/// The JDBC driver sends milliseconds whatever unit the server describes (apache/arrow-java#838),
/// so that an instant of 2026 would arrive as one of 1970. Clients may still bind values of a finer
/// unit.
pub(crate) fn parameter_types(parameters: &Schema) -> Schema {
    let fields = parameters.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Timestamp(_, zone) => {
                DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
            }
            DataType::Time64(_) => DataType::Time32(TimeUnit::Millisecond),
            other => other.clone(),
        };
        Field::new(field.name(), data_type, field.is_nullable())
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The values in a ticket: a message with the columns, those with dictionaries, then one with the
/// row.
#[derive(Clone, PartialEq, Message)]
struct BoundValues {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<FlightData>,
}

/// Encodes a row of values for a ticket; nothing where none are bound.
pub(crate) fn encode(row: Option<&RecordBatch>) -> Result<Bytes, Status> {
    let Some(row) = row else {
        return Ok(Bytes::new());
    };
    let messages = messages_of(row, &IpcWriteOptions::default());
    let messages = messages.map_err(|error| status::internal(&error))?;
    Ok(BoundValues { messages }.encode_to_vec().into())
}

fn messages_of(
    row: &RecordBatch,
    options: &IpcWriteOptions,
) -> Result<Vec<FlightData>, ArrowError> {
    let generator = IpcDataGenerator::default();
    let mut tracker = DictionaryTracker::new(false);
    // Assigns the ids of dictionaries.
    let schema =
        generator.schema_to_bytes_with_dictionary_tracker(row.schema_ref(), &mut tracker, options);
    let mut context = IpcWriteContext::default();
    let (dictionaries, values) = generator.encode(row, &mut tracker, options, &mut context)?;
    let mut messages = vec![FlightData::from(schema)];
    messages.extend(dictionaries.into_iter().map(FlightData::from));
    messages.push(values.into());
    Ok(messages)
}

/// Decodes the row of values that [`encode`] encoded for a ticket.
pub(crate) async fn decode_encoded(encoded: Bytes) -> Result<Option<RecordBatch>, Status> {
    if encoded.is_empty() {
        return Ok(None);
    }
    let values = BoundValues::decode(encoded);
    let values = values.map_err(|error| unreadable(&error.to_string()))?;
    decode(values.messages).await
}

/// Decodes the row of values that a client sent, on a blocking thread: it may be large. `None` when
/// it has no columns, which some clients send to bind nothing.
pub(crate) async fn decode(messages: Vec<FlightData>) -> Result<Option<RecordBatch>, Status> {
    let decoded = tokio::task::spawn_blocking(move || row_of(&messages)).await;
    decoded.unwrap_or_else(|_panic| Err(status::of(Error::EndedUnexpectedly)))
}

fn row_of(messages: &[FlightData]) -> Result<Option<RecordBatch>, Status> {
    let Some(columns) = messages.first() else {
        return Ok(None);
    };
    for message in messages {
        refuse_compressed(message)?;
    }
    let columns = Schema::try_from(columns).map_err(|error| unreadable(&error.to_string()))?;
    if columns.fields().is_empty() {
        return Ok(None);
    }
    let batches = batches(messages, columns);
    let mut batches = batches.map_err(|error| unreadable(&error.to_string()))?;
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
        Err(error) => Err(unreadable(&error.to_string())),
    }
}

fn unreadable(reason: &str) -> Status {
    Status::invalid_argument(format!("the values cannot be read: {reason}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, DictionaryArray, Int64Array, RunArray, StringArray, StringViewArray, UnionArray,
    };
    use arrow::datatypes::{Int8Type, Int32Type};
    use arrow::ipc::CompressionType;

    use super::*;

    fn row(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("1", column)]).expect("a row")
    }

    fn number() -> RecordBatch {
        row(Arc::new(Int64Array::from(vec![7])))
    }

    #[test]
    fn instants_are_described_in_milliseconds() {
        let check = |data_type: DataType, described: DataType| {
            let field = Field::new("1", data_type, true);
            let found = parameter_types(&Schema::new(vec![field]));
            assert_eq!(found.field(0).data_type(), &described);
        };
        let timestamp = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        check(
            timestamp(TimeUnit::Microsecond),
            timestamp(TimeUnit::Millisecond),
        );
        check(
            DataType::Time64(TimeUnit::Nanosecond),
            DataType::Time32(TimeUnit::Millisecond),
        );
        check(DataType::Int64, DataType::Int64);
    }

    #[tokio::test]
    async fn encoded_values_are_decoded_unchanged() {
        let coded: DictionaryArray<Int8Type> = vec!["x"].into_iter().collect();
        let runs: RunArray<Int32Type> = vec!["x"].into_iter().collect();
        let members: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(7), None])),
            Arc::new(StringArray::from(vec!["x"])),
        ];
        let fields = members.iter().zip(["int", "text"]).zip(0..);
        let fields = fields.map(|((member, name), id)| {
            let field = Field::new(name, member.data_type().clone(), true);
            (id, Arc::new(field))
        });
        let (types, offsets) = (vec![0].into(), Some(vec![1].into()));
        let union = UnionArray::try_new(fields.collect(), types, offsets, members.clone());
        for column in [
            Arc::new(Int64Array::from(vec![None])) as ArrayRef,
            Arc::new(StringViewArray::from(vec!["x"])),
            Arc::new(coded),
            Arc::new(runs),
            Arc::new(union.expect("a union")),
        ] {
            let row = row(column);
            let encoded = encode(Some(&row)).expect("it can be encoded");
            assert_eq!(decode_encoded(encoded).await.expect("read"), Some(row));
        }
        let nothing = encode(None).expect("nothing");
        assert_eq!(decode_encoded(nothing).await.expect("nothing"), None);
        let refused = decode_encoded(Bytes::from_static(b"\xff")).await;
        assert!(refused.is_err());
        let empty = encode(Some(&number().slice(0, 0))).expect("it can be encoded");
        let refused = decode_encoded(empty).await.expect_err("no row");
        assert!(refused.message().contains("one row"), "{refused}");
    }

    #[test]
    fn compressed_values_are_refused() {
        let compressed = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::LZ4_FRAME))
            .expect("lz4 is known");
        let messages = messages_of(&number(), &compressed).expect("it can be encoded");
        let refused = row_of(&messages).expect_err("compressed");
        assert!(refused.message().contains("compressed"), "{refused}");
    }
}
