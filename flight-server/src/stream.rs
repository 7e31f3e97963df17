//! Streams rows to a client. One task computes and encodes them, a little ahead of the connection; another stops it when
//! the client disconnects, the time limit passes, or the statement is cancelled or exceeds its memory.
//!
//! Rows are computed on a runtime of their own: an operator may compute for seconds without yielding, and the time
//! limits, connections and health of the service must not wait for it. A separate task enforces the time limit, because
//! a stream whose client stops reading is never polled and could not time itself out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use engine::allocations;
use engine::runtime::WatchedStatement;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::admission::Query;
use crate::budget::Budget;
use crate::metrics::{Counters, Outcome};
use crate::status;
use crate::wire::Wire;

/// What leaves for a client.
pub(crate) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// Target size of a message. gRPC clients accept 4 MB by default, and rows differ in size.
const MESSAGE_BYTES: usize = 2 << 20;
/// Messages that wait for the connection.
const PREFETCH_MESSAGES: usize = 2;

/// Sends rows that are there already.
pub(crate) fn of_batch(batch: RecordBatch) -> Messages {
    let schema = batch.schema();
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(stream::iter([Ok(batch)]));
    encoded.map(|message| message.map_err(failed)).boxed()
}

/// A statement that is ready to run.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) rows: Rows,
    /// Counts what it allocates.
    pub(crate) memory: WatchedStatement,
}

/// What makes the rows of a statement, and how they leave.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) wire: Wire,
}

/// Limits that stop a running statement.
#[derive(Debug)]
struct Limits {
    budget: Budget,
    memory: WatchedStatement,
}

impl Limits {
    async fn exceeded(&self) -> Status {
        tokio::select! {
            () = tokio::time::sleep_until(self.budget.deadline()) => self.budget.exhausted(),
            error = self.memory.exceeded() => status::of(&error),
        }
    }
}

/// Sends the rows of `made`, which runs on the runtime `queries`, as long as `budget` lasts.
pub(crate) fn of_query(query: Query, made: Made, budget: Budget, queries: &Handle) -> Messages {
    let (sender, messages) = mpsc::channel(PREFETCH_MESSAGES);
    let Made { rows, memory } = made;
    let work = hand_over(rows, sender.clone(), query.counters().clone());
    let work = AbortOnDropHandle::new(queries.spawn(memory.count(work)));
    let limits = Limits { budget, memory };
    let (end, ended) = oneshot::channel();
    query.tasks().spawn(watch(query, work, sender, end, limits));
    let outgoing = Outgoing {
        messages,
        ended: Some(ended),
        end: None,
    };
    outgoing.boxed()
}

/// Runs a statement and hands over its rows until the receiver is dropped.
async fn hand_over(
    rows: Rows,
    sender: mpsc::Sender<FlightData>,
    counters: Counters,
) -> Result<(), Status> {
    let Rows {
        plan,
        context,
        wire,
    } = rows;
    // Called here and not before: DataFusion spawns its tasks on the current runtime.
    let rows = execute_stream(plan, context).map_err(status::of_rows)?;
    let schema = Arc::clone(wire.schema());
    let counted = counters.rows.clone();
    let rows = rows.map(move |batch| {
        let batch = batch.map_err(|error| FlightError::from(status::of_rows(error)))?;
        counted.inc_by(batch.num_rows() as u64);
        wire.convert(&batch).map_err(FlightError::from)
    });
    let mut encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(rows);
    while let Some(message) = encoded.next().await {
        let mut message = message.map_err(failed)?;
        counters.bytes.inc_by(message.data_body.len() as u64);
        message.data_body = allocations::accounted(message.data_body);
        if sender.send(message).await.is_err() {
            return Err(gone());
        }
    }
    Ok(())
}

/// Waits for the end of `work`, or ends it. The place of `query` is free when the work has really ended, which
/// may be a while after it was told to: an operator looks up only now and then.
async fn watch(
    mut query: Query,
    mut work: AbortOnDropHandle<Result<(), Status>>,
    sender: mpsc::Sender<FlightData>,
    end: oneshot::Sender<Result<(), Status>>,
    limits: Limits,
) {
    let outcome = tokio::select! {
        biased;
        done = &mut work => done.unwrap_or_else(|_panic| Err(task_panicked())),
        () = query.token.cancelled() => Err(Status::cancelled("the statement was cancelled")),
        () = sender.closed() => Err(gone()),
        exceeded = limits.exceeded() => Err(exceeded),
    };
    query.outcome = outcome.as_ref().map_or_else(Outcome::of, |()| Outcome::Ok);
    if work.is_finished() {
        // Before the client hears of the end, so that it finds the place free.
        drop(query);
        let _ = end.send(outcome);
        return;
    }
    limits.memory.end();
    // A client that is gone hears nothing.
    let _ = end.send(outcome);
    work.abort();
    let _ = work.await;
}

/// Messages as they are ready, then how it ended, also when the work still holds on to its side of the channel.
struct Outgoing {
    messages: mpsc::Receiver<FlightData>,
    ended: Option<oneshot::Receiver<Result<(), Status>>>,
    end: Option<Result<(), Status>>,
}

impl Stream for Outgoing {
    type Item = Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Poll::Ready(Some(message)) = self.messages.poll_recv(context) {
                return Poll::Ready(Some(Ok(message)));
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end.err().map(Err));
            }
            let Some(ended) = &mut self.ended else {
                return Poll::Ready(None);
            };
            let end = ready!(Pin::new(ended).poll(context));
            // Messages that arrived since the poll above are sent before the end.
            self.end = Some(end.unwrap_or_else(|_gone| Err(task_panicked())));
            self.ended = None;
        }
    }
}

/// The status of a statement whose task is gone: it panicked, or the process ends.
pub(crate) fn task_panicked() -> Status {
    Status::internal("the statement broke off")
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
