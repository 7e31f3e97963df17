//! Streams rows to a client. One task computes and encodes them, a few messages ahead of the
//! connection; another stops it when the client disconnects, the time limit passes, or the
//! statement is cancelled or exceeds its memory.
//!
//! Rows are computed on a runtime of their own: an operator may compute for seconds without
//! yielding, and the time limits, connections and health of the service must not wait for it. A
//! separate task enforces the time limit, because a stream whose client stops reading is never
//! polled and could not time itself out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use engine::runtime::WatchedStatement;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::execution::admission::RunningStatement;
use crate::execution::budget::Budget;
use crate::metrics::{Counters, Outcome};
use crate::statements::client_types::ClientTypes;
use crate::status;

/// The messages of one `DoGet`.
pub(crate) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// Target size of a message. gRPC clients accept 4 MB by default, and rows differ in size.
const MESSAGE_BYTES: usize = 2 << 20;
/// Messages that wait for the connection.
const PREFETCH_MESSAGES: usize = 2;

/// Encodes a batch that is in memory.
pub(crate) fn from_batch(batch: RecordBatch) -> Messages {
    let schema = batch.schema();
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(stream::iter([Ok(batch)]));
    encoded
        .map(|message| message.map_err(status_of_encoding))
        .boxed()
}

/// A statement that is ready to run.
#[derive(Debug)]
pub(crate) struct ExecutablePlan {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) context: Arc<TaskContext>,
    /// The columns as the client gets them.
    pub(crate) client_types: ClientTypes,
    /// Counts the memory of the statement.
    pub(crate) memory: WatchedStatement,
}

/// Limits that stop a running statement.
#[derive(Debug)]
struct StatementLimits {
    budget: Budget,
    memory: WatchedStatement,
}

impl StatementLimits {
    async fn exceeded(&self) -> Status {
        tokio::select! {
            () = tokio::time::sleep_until(self.budget.deadline()) => self.budget.exhausted(),
            error = self.memory.exceeded() => status::of(&error),
        }
    }
}

/// Runs `executable` on the runtime `queries`, and sends its rows until `budget` is spent.
pub(crate) fn from_plan(
    statement: RunningStatement,
    executable: ExecutablePlan,
    budget: Budget,
    queries: &Handle,
) -> Messages {
    let (sender, messages) = mpsc::channel(PREFETCH_MESSAGES);
    let ExecutablePlan {
        plan,
        context,
        client_types,
        memory,
    } = executable;
    let counters = statement.counters().clone();
    let work = send_rows(plan, context, client_types, sender.clone(), counters);
    let work = AbortOnDropHandle::new(queries.spawn(memory.count(work)));
    let limits = StatementLimits { budget, memory };
    let (end, ended) = oneshot::channel();
    let tasks = statement.tasks();
    tasks.spawn(supervise(statement, work, sender, end, limits));
    let messages = MessageStream {
        messages,
        ended: Some(ended),
        end: None,
    };
    messages.boxed()
}

/// Runs a statement and sends its rows until the receiver is dropped.
async fn send_rows(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    client_types: ClientTypes,
    sender: mpsc::Sender<FlightData>,
    counters: Counters,
) -> Result<(), Status> {
    // Executed in this task and not before: DataFusion spawns its tasks on the current runtime.
    let rows = execute_stream(plan, context).map_err(status::of_rows)?;
    let schema = Arc::clone(client_types.schema());
    let counted = counters.rows.clone();
    let rows = rows.map(move |batch| {
        let batch = batch.map_err(|error| FlightError::from(status::of_rows(error)))?;
        counted.inc_by(batch.num_rows() as u64);
        client_types.convert(&batch).map_err(FlightError::from)
    });
    let mut encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(rows);
    while let Some(message) = encoded.next().await {
        let mut message = message.map_err(status_of_encoding)?;
        counters.bytes.inc_by(message.data_body.len() as u64);
        message.data_body = allocations::accounted(message.data_body);
        if sender.send(message).await.is_err() {
            return Err(client_disconnected());
        }
    }
    Ok(())
}

/// Waits for the end of `work`, or stops it at a limit. `statement` holds its permit until `work`
/// has ended, which may be a while after the abort: an operator that computes does not yield.
async fn supervise(
    mut statement: RunningStatement,
    mut work: AbortOnDropHandle<Result<(), Status>>,
    sender: mpsc::Sender<FlightData>,
    end: oneshot::Sender<Result<(), Status>>,
    limits: StatementLimits,
) {
    let outcome = tokio::select! {
        biased;
        done = &mut work => done.unwrap_or_else(|_panic| Err(task_panicked())),
        () = statement.token.cancelled() => Err(Status::cancelled("the statement was cancelled")),
        () = sender.closed() => Err(client_disconnected()),
        exceeded = limits.exceeded() => Err(exceeded),
    };
    statement.outcome = outcome.as_ref().map_or_else(Outcome::of, |()| Outcome::Ok);
    if work.is_finished() {
        // Before the client gets the end, so that its next request finds the permit free.
        drop(statement);
        let _ = end.send(outcome);
        return;
    }
    limits.memory.end();
    // Fails only when the client has disconnected.
    let _ = end.send(outcome);
    work.abort();
    let _ = work.await;
}

/// The messages in their order, and then how the statement ended, even while the task that sends
/// rows still holds its sender.
struct MessageStream {
    messages: mpsc::Receiver<FlightData>,
    ended: Option<oneshot::Receiver<Result<(), Status>>>,
    end: Option<Result<(), Status>>,
}

impl Stream for MessageStream {
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
            self.end = Some(end.unwrap_or_else(|_dropped| Err(task_panicked())));
            self.ended = None;
        }
    }
}

/// The status of a statement whose task returned no result: it panicked, or the process ends.
pub(crate) fn task_panicked() -> Status {
    Status::internal("the statement ended unexpectedly")
}

fn client_disconnected() -> Status {
    Status::cancelled("the client disconnected")
}

fn status_of_encoding(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        error => status::internal(&error),
    }
}
