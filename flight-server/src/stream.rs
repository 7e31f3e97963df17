//! The way of rows to a client: a task runs the statement and encodes its rows, a little ahead of the
//! connection, and ends when rows, client, time or patience do.
//!
//! The task, not the connection, keeps the time: a connection whose client does not read is never asked for
//! more, and would hold the statement for ever.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::{FlightDataEncoder, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

use crate::metrics::Outcome;
use crate::running::Query;
use crate::status;
use crate::wire::Wire;

/// What leaves for a client.
pub(crate) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// Aimed at; clients take 4 MB by default, and rows differ in size.
const MESSAGE_BYTES: usize = 2 << 20;
/// Messages that wait for the connection.
const AHEAD: usize = 2;

/// Sends rows that are there already.
pub(crate) fn of_batch(batch: RecordBatch) -> Messages {
    let schema = batch.schema();
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(stream::iter([Ok(batch)]));
    encoded.map(|message| message.map_err(failed)).boxed()
}

/// Runs `query`, whose rows are `rows`, until `deadline` at the latest.
pub(crate) fn of_query(
    query: Query,
    rows: SendableRecordBatchStream,
    wire: Wire,
    limit: Duration,
) -> Messages {
    let counters = query.counters().clone();
    let schema = wire.schema().clone();
    let rows = rows.map(move |batch| {
        let batch = batch.map_err(|error| FlightError::from(status::of_rows(error)))?;
        counters.rows.inc_by(batch.num_rows() as u64);
        wire.convert(&batch).map_err(FlightError::from)
    });
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(rows);
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    let (end, ended) = oneshot::channel();
    query.tasks().spawn(async move {
        let mut query = query;
        let outcome = run(&query, encoded, &sender, limit).await;
        query.outcome = outcome.as_ref().map_or_else(Outcome::of, |()| Outcome::Ok);
        // Before the client hears of the end, so that it finds the place free.
        drop(query);
        drop(sender);
        // A client that is gone hears nothing.
        let _ = end.send(outcome);
    });
    let messages = stream::poll_fn(move |context| receiver.poll_recv(context));
    let last = stream::once(ended).filter_map(|end| async {
        match end {
            Ok(Ok(())) => None,
            Ok(Err(status)) => Some(Err(status)),
            Err(_gone) => Some(Err(Status::internal("the statement broke off"))),
        }
    });
    messages.map(Ok).chain(last).boxed()
}

/// Hands over all messages, unless something ends it before. What it was given of the statement is freed when it
/// returns.
async fn run(
    query: &Query,
    mut encoded: FlightDataEncoder,
    sender: &mpsc::Sender<FlightData>,
    limit: Duration,
) -> Result<(), Status> {
    let deadline = Instant::from_std(query.started) + limit;
    let work = async move {
        while let Some(message) = encoded.next().await {
            let message = message.map_err(failed)?;
            query
                .counters()
                .bytes
                .inc_by(message.data_body.len() as u64);
            if sender.send(message).await.is_err() {
                return Err(gone());
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        () = query.token.cancelled() => Err(Status::cancelled("the statement was cancelled")),
        () = sender.closed() => Err(gone()),
        () = tokio::time::sleep_until(deadline) => Err(timed_out(limit)),
        done = work => done,
    }
}

/// The status of a statement that took longer than `limit`.
pub(crate) fn timed_out(limit: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "the statement did not end within {limit:?} (serve.query_timeout)"
    ))
}

fn gone() -> Status {
    Status::cancelled("the client went away")
}

fn failed(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        error => status::internal(&error),
    }
}
