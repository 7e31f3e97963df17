//! Streams the rows of a statement. One task computes and encodes them, a few messages ahead of the
//! client; another stops it when the client disconnects, the time limit passes, or the statement is
//! cancelled or exceeds its memory.
//!
//! Rows are computed on a runtime of their own: an operator may compute for seconds without
//! yielding, and the time limits, connections and health of the service must not wait for it. A
//! separate task enforces the time limit, because a stream whose client stops reading is never
//! polled and could not time itself out.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use engine::runtime::WatchedStatement;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

use crate::error::Error;
use crate::execution::admission::RunningStatement;
use crate::execution::budget::Budget;
use crate::execution::executable::ExecutablePlan;
use crate::metrics::{Counters, Outcome};
use crate::statements::client_types::ClientTypes;

/// The rows of a result with the described columns, for the encoder of a protocol.
pub type Rows = BoxStream<'static, Result<RecordBatch, Error>>;

/// Messages that wait for the client.
const PREFETCH_MESSAGES: usize = 2;

/// How a protocol sends rows: the two arguments of [`QueryService::execute`] for it.
///
/// [`QueryService::execute`]: crate::QueryService::execute
pub(crate) struct Encoding<E, T> {
    /// Makes messages of the rows.
    pub(crate) encode: E,
    /// The bytes of rows in a message.
    pub(crate) body: fn(&mut T) -> &mut Bytes,
}

/// Limits that stop a running statement.
#[derive(Debug)]
struct StatementLimits {
    budget: Budget,
    memory: WatchedStatement,
}

impl StatementLimits {
    async fn exceeded(&self) -> Error {
        tokio::select! {
            () = tokio::time::sleep_until(self.budget.deadline()) => self.budget.exhausted(),
            error = self.memory.exceeded() => error.into(),
        }
    }
}

/// Runs `executable` on the runtime `queries`, and sends its rows until `budget` is spent. Log
/// lines of both tasks are in the current span.
pub(crate) fn start<T, S>(
    statement: RunningStatement,
    executable: ExecutablePlan,
    budget: Budget,
    queries: &Handle,
    encoding: Encoding<impl FnOnce(SchemaRef, Rows) -> S + Send + 'static, T>,
) -> ResultStream<T>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, Error>> + Send + 'static,
{
    let (sender, messages) = mpsc::channel(PREFETCH_MESSAGES);
    let ExecutablePlan {
        plan,
        context,
        client_types,
        memory,
    } = executable;
    let counters = statement.counters().clone();
    let work = send_rows(
        plan,
        context,
        client_types,
        encoding,
        sender.clone(),
        counters,
    );
    let work = memory.count(work.instrument(Span::current()));
    let work = AbortOnDropHandle::new(queries.spawn(work));
    let limits = StatementLimits { budget, memory };
    let (end, ended) = oneshot::channel();
    let tasks = statement.tasks();
    tasks.spawn(supervise(statement, work, sender, end, limits).instrument(Span::current()));
    ResultStream {
        messages,
        ended: Some(ended),
        end: None,
    }
}

/// Runs a statement and sends its rows until the receiver is dropped.
async fn send_rows<T, S>(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    client_types: ClientTypes,
    encoding: Encoding<impl FnOnce(SchemaRef, Rows) -> S, T>,
    sender: mpsc::Sender<T>,
    counters: Counters,
) -> Result<(), Error>
where
    S: Stream<Item = Result<T, Error>>,
{
    // Executed in this task and not before: DataFusion spawns its tasks on the current runtime.
    let rows = execute_stream(plan, context).map_err(engine::Error::execute)?;
    let schema = Arc::clone(client_types.schema());
    let counted = counters.rows.clone();
    let rows = rows.map(move |batch| {
        let batch = batch.map_err(engine::Error::execute)?;
        counted.inc_by(batch.num_rows() as u64);
        client_types.convert(&batch).map_err(Error::ConvertRows)
    });
    let mut messages = pin!((encoding.encode)(schema, rows.boxed()));
    while let Some(message) = messages.next().await {
        let mut message = message?;
        let body = (encoding.body)(&mut message);
        counters.bytes.inc_by(body.len() as u64);
        *body = allocations::accounted(std::mem::take(body));
        if sender.send(message).await.is_err() {
            return Err(Error::ClientDisconnected);
        }
    }
    Ok(())
}

/// Waits for the end of `work`, or stops it at a limit. `statement` holds its permit until `work`
/// has ended, which may be a while after the abort: an operator that computes does not yield.
async fn supervise<T>(
    mut statement: RunningStatement,
    mut work: AbortOnDropHandle<Result<(), Error>>,
    sender: mpsc::Sender<T>,
    end: oneshot::Sender<Result<(), Error>>,
    limits: StatementLimits,
) {
    let outcome = tokio::select! {
        biased;
        done = &mut work => done.unwrap_or(Err(Error::EndedUnexpectedly)),
        () = statement.token.cancelled() => Err(Error::Cancelled),
        () = sender.closed() => Err(Error::ClientDisconnected),
        exceeded = limits.exceeded() => Err(exceeded),
    };
    statement.outcome = outcome.as_ref().map_or_else(Outcome::of, |()| Outcome::Ok);
    if let Err(error) = &outcome {
        error.log_if_internal();
    }
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

/// The messages of a result in their order, and then how the statement ended, even while the task
/// that sends rows still holds its sender. Dropping it cancels the statement.
#[derive(Debug)]
pub struct ResultStream<T> {
    messages: mpsc::Receiver<T>,
    ended: Option<oneshot::Receiver<Result<(), Error>>>,
    end: Option<Result<(), Error>>,
}

impl<T> Stream for ResultStream<T> {
    type Item = Result<T, Error>;

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
            // Messages that arrived since the poll above are returned before the end.
            self.end = Some(end.unwrap_or(Err(Error::EndedUnexpectedly)));
            self.ended = None;
        }
    }
}
