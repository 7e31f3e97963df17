//! Encodes rows as messages of Flight, and bounds their size. The query service bounds how many of
//! them wait.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use query_service::{Error, Rows};
use tonic::Status;

use crate::status;

/// The messages of one `DoGet`.
pub(crate) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// Target size of a message. gRPC clients accept 4 MB by default, and rows differ in size.
const MESSAGE_BYTES: usize = 2 << 20;

/// Encodes a batch that is in memory.
pub(crate) fn from_batch(batch: RecordBatch) -> Messages {
    let schema = batch.schema();
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(stream::iter([Ok(batch)]));
    encoded.map_err(|error| status::internal(&error)).boxed()
}

/// Encodes the rows of a statement, which have the columns `schema`.
pub(crate) fn encode(
    schema: SchemaRef,
    rows: Rows,
) -> impl Stream<Item = Result<FlightData, Error>> + Send {
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(rows.map_err(|error| FlightError::ExternalError(Box::new(error))))
        .map_err(query_error)
}

/// The bytes of rows in a message.
pub(crate) fn body(message: &mut FlightData) -> &mut Bytes {
    &mut message.data_body
}

/// The error of the rows, which the encoder passes on, or that of the encoder.
fn query_error(error: FlightError) -> Error {
    let FlightError::ExternalError(source) = error else {
        return Error::Encode(Box::new(error));
    };
    match source.downcast::<Error>() {
        Ok(failed) => *failed,
        Err(source) => Error::Encode(Box::new(FlightError::ExternalError(source))),
    }
}
