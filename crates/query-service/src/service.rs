//! The API of the crate: describes, prepares, executes and cancels statements.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use engine::estimate::statement_size;
use engine::runtime::QueryHandles;
use engine::session::Session;
use futures::Stream;
use service::metrics::Metrics;
use service::readiness::Readiness;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::error::Error;
use crate::execution::admission::RunningStatements;
use crate::execution::budget::Budget;
use crate::execution::executable;
use crate::execution::result_stream::{self, Encoding, ResultStream, Rows};
use crate::metrics::{Counters, Outcome};
use crate::probe::Probe;
use crate::statements::description::Description;
use crate::statements::plan_cache::PlanCache;
use crate::statements::planned::PlannedStatement;
use crate::statements::prepared::PreparedStatements;
use crate::statements::statement::{Statement, StatementId};

/// The limits of one service.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time limit of one statement, over all its requests, from planning to the last row. The wait
    /// for memory, two seconds at most, does not count.
    pub query_timeout: Duration,
    /// Statements that run at a time, and as many that are planned.
    pub queries_max: usize,
    /// Prepared statements that the service keeps.
    pub prepared_max: usize,
}

/// Statements over one lake, for clients of any protocol. Clones share everything.
#[derive(Clone, Debug)]
pub struct QueryService {
    session: Session,
    limits: Limits,
    running: Arc<RunningStatements>,
    prepared: Arc<PreparedStatements>,
    plans: Arc<PlanCache>,
    /// The runtimes that statements run on, see [`crate::execution::result_stream`].
    queries: QueryHandles,
    probe: Probe,
}

impl QueryService {
    /// A service that plans every statement by `session`, and adds its counters to `metrics`.
    ///
    /// Statements run on the runtimes `queries`. The methods are called on another one, whose
    /// timers and connections must not wait for an operator that computes.
    pub fn new(session: Session, limits: Limits, queries: QueryHandles, metrics: &Metrics) -> Self {
        let counters = Counters::register(metrics);
        Self {
            session,
            limits,
            running: RunningStatements::new(limits.queries_max, counters),
            prepared: Arc::new(PreparedStatements::new(limits.prepared_max)),
            plans: Arc::default(),
            queries,
            probe: Probe::default(),
        }
    }

    /// The session that plans every statement.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The limits that it was made with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Plans `statement`, and returns its columns and its unbound parameters.
    ///
    /// # Errors
    /// When the statement cannot be planned within its time, or too many are being planned.
    pub async fn describe(&self, statement: &Statement) -> Result<Description, Error> {
        let budget = self.budget(statement.spent);
        let planning = self.plan(statement, &budget).instrument(statement.span());
        let planned = planning.await?;
        Ok(Description {
            columns: Arc::clone(planned.client_types.schema()),
            parameters: planned.parameters,
            spent: budget.spent(),
        })
    }

    /// Describes `statement` and keeps it, and returns its handle. The time that this takes counts
    /// for each of its executions.
    ///
    /// # Errors
    /// As [`QueryService::describe`].
    pub async fn prepare(&self, mut statement: Statement) -> Result<(Bytes, Description), Error> {
        let description = self.describe(&statement).await?;
        statement.spent = description.spent;
        Ok((self.prepared.add(statement, Instant::now()), description))
    }

    /// The prepared statement of `handle`, with its values and an id of its own.
    ///
    /// # Errors
    /// [`Error::NoSuchPreparedStatement`].
    pub fn prepared(&self, handle: &[u8]) -> Result<Statement, Error> {
        self.prepared.get(handle, Instant::now())
    }

    /// Binds one row of values to a prepared statement, or none, and replaces earlier ones.
    ///
    /// # Errors
    /// [`Error::NoSuchPreparedStatement`].
    pub fn bind(&self, handle: &[u8], values: Option<RecordBatch>) -> Result<(), Error> {
        self.prepared.bind(handle, values, Instant::now())
    }

    /// Removes a prepared statement, if it is stored.
    pub fn close(&self, handle: &[u8]) {
        self.prepared.close(handle);
    }

    /// Executes `statement`, and records its outcome, even when it fails before its first row.
    ///
    /// `encode` makes messages of the rows, in the task of the statement: what it allocates counts
    /// as memory of the statement. `body` is the part of a message that has the rows. Its bytes are
    /// counted as sent, and as the statement's until the client has them.
    ///
    /// # Errors
    /// When no permit is free, or the statement cannot be planned within its time. What fails later
    /// is the last item of the stream.
    pub async fn execute<T, S>(
        &self,
        statement: Statement,
        encode: impl FnOnce(SchemaRef, Rows) -> S + Send + 'static,
        body: fn(&mut T) -> &mut Bytes,
    ) -> Result<ResultStream<T>, Error>
    where
        T: Send + 'static,
        S: Stream<Item = Result<T, Error>> + Send + 'static,
    {
        let span = statement.span();
        let encoding = Encoding { encode, body };
        self.run(statement, encoding).instrument(span).await
    }

    /// Cancels the running statements `id`, and returns whether there were any.
    pub fn cancel(&self, id: &StatementId) -> bool {
        self.running.cancel(id)
    }

    /// Cancels all running statements, and returns their number.
    pub fn cancel_all(&self) -> usize {
        self.running.cancel_all()
    }

    /// Statements whose tasks have not ended.
    pub fn running(&self) -> usize {
        self.running.tasks.len()
    }

    /// Waits until the tasks of all statements have ended, for `grace` at most. No request may
    /// follow.
    pub async fn shutdown(&self, grace: Duration) {
        self.running.tasks.close();
        let _ = tokio::time::timeout(grace, self.running.tasks.wait()).await;
    }

    /// Ready when statements are answered, which [`QueryService::run_probe`] checks, and `other` is
    /// ready.
    pub fn readiness(&self, other: Readiness) -> Readiness {
        self.probe.and(other)
    }

    /// Checks at an interval that statements are answered, until `stopped`.
    pub async fn run_probe(&self, stopped: CancellationToken) {
        let queries = self.queries.small.clone();
        self.probe.run(self.session.clone(), queries, stopped).await;
    }

    /// The time budget of a request; earlier requests for the same statement have `spent` some.
    fn budget(&self, spent: Duration) -> Budget {
        Budget::new(self.limits.query_timeout, spent)
    }

    async fn plan(
        &self,
        statement: &Statement,
        budget: &Budget,
    ) -> Result<PlannedStatement, Error> {
        let (session, plans) = (self.session.clone(), Arc::clone(&self.plans));
        let statement = statement.clone();
        self.wait_for_memory().await?;
        let permit = self.running.begin_planning()?;
        let planning = on_planning_thread(async move {
            let planned = plans.plan(&session, &statement).await;
            drop(permit);
            planned
        });
        budget.within(planning).await
    }

    async fn wait_for_memory(&self) -> Result<(), Error> {
        Ok(self.session.runtime().wait_for_memory().await?)
    }

    async fn run<T, S>(
        &self,
        statement: Statement,
        encoding: Encoding<impl FnOnce(SchemaRef, Rows) -> S + Send + 'static, T>,
    ) -> Result<ResultStream<T>, Error>
    where
        T: Send + 'static,
        S: Stream<Item = Result<T, Error>> + Send + 'static,
    {
        self.wait_for_memory().await?;
        let mut running = self.running.begin(statement.id.clone())?;
        let budget = self.budget(statement.spent);
        let (session, plans) = (self.session.clone(), Arc::clone(&self.plans));
        let preparing = executable::prepare(session, plans, statement, running.permit());
        let prepared = tokio::select! {
            prepared = on_planning_thread(preparing) => prepared,
            () = running.token.cancelled() => Err(Error::Cancelled),
            () = tokio::time::sleep_until(budget.deadline()) => Err(budget.exhausted()),
        };
        let admitted = prepared.and_then(|executable| {
            let size = statement_size(&executable.plan);
            running.admit(size)?;
            Ok((executable, self.queries.of(size)))
        });
        match admitted {
            Ok((executable, queries)) => Ok(result_stream::start(
                running, executable, budget, queries, encoding,
            )),
            Err(error) => {
                running.outcome = Outcome::of(&error);
                Err(error)
            }
        }
    }
}

/// Runs `work` on a blocking thread, in the current span. Planning is CPU-bound, never yields, and
/// takes longer for larger statements: here it blocks no connection, and does not queue behind
/// running statements.
async fn on_planning_thread<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let runtime = Handle::current();
    let work = async move {
        let done = work.await;
        if let Err(error) = &done {
            error.log_if_internal();
        }
        done
    };
    let work = work.instrument(Span::current());
    let task = tokio::task::spawn_blocking(move || runtime.block_on(work));
    task.await.unwrap_or(Err(Error::EndedUnexpectedly))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use arrow::array::{ArrayRef, Int64Array};
    use engine::runtime::{QueryThreads, Runtime, RuntimeOptions, SpillPath};
    use futures::{StreamExt as _, TryStreamExt as _};
    use lake::{Lake, StoreOptions, Stores};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::code::ErrorCode;

    const ENDLESS: &str = "SELECT a.value AS a FROM generate_series(1, 2000) a \
        CROSS JOIN generate_series(1, 20000000) b";
    const PROTOCOL: &str = "test";
    const BODY: &[u8] = b"ten bytes.";

    #[derive(Debug)]
    struct Message {
        rows: usize,
        body: Bytes,
    }

    fn encode(
        _: SchemaRef,
        rows: Rows,
    ) -> impl Stream<Item = Result<Message, Error>> + Send + 'static {
        rows.map_ok(|batch| Message {
            rows: batch.num_rows(),
            body: Bytes::from_static(BODY),
        })
    }

    /// A service over a lake without tables.
    struct Served {
        queries: QueryService,
        metrics: Arc<Metrics>,
        threads: Option<QueryThreads>,
    }

    impl Served {
        fn new() -> Self {
            let stores = Stores::new(StoreOptions {
                user: String::new(),
                limit: Duration::from_secs(1),
            });
            let lake = "file:///nowhere".parse().expect("an address");
            let lake = Lake::new(&lake, stores).expect("a lake");
            let runtime = Runtime::new(&RuntimeOptions {
                spill: SpillPath::FirstOf(Vec::new()),
                ..RuntimeOptions::default()
            });
            let runtime = runtime.expect("a runtime");
            let zone = "UTC".parse().expect("a zone");
            let session = Session::new(&lake, zone, &runtime).expect("a session");
            let threads = runtime.start_threads().expect("threads");
            let metrics = Metrics::new("0");
            let limits = Limits {
                query_timeout: Duration::from_secs(3_600),
                queries_max: 8,
                prepared_max: 8,
            };
            Self {
                queries: QueryService::new(session, limits, threads.handles(), &metrics),
                metrics,
                threads: Some(threads),
            }
        }

        async fn execute(&self, statement: Statement) -> Result<ResultStream<Message>, Error> {
            self.queries
                .execute(statement, encode, |message| &mut message.body)
                .await
        }

        async fn has_ended(&self) {
            self.queries.shutdown(Duration::from_secs(60)).await;
            assert_eq!(self.queries.running(), 0);
        }

        fn assert_metric(&self, line: &str) {
            let text = self.metrics.text().expect("a text");
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            if let Some(threads) = self.threads.take() {
                threads.shutdown_background();
            }
        }
    }

    fn statement(text: &str) -> Statement {
        Statement::new(PROTOCOL, text)
    }

    #[tokio::test]
    async fn result_is_streamed_and_counted() {
        let served = Served::new();
        let text = "SELECT value FROM generate_series(1, 20000)";
        let messages = served.execute(statement(text)).await.expect("it runs");
        let messages: Vec<Message> = messages.try_collect().await.expect("it ends");
        let rows: usize = messages.iter().map(|message| message.rows).sum();
        assert_eq!(rows, 20_000);
        served.assert_metric("isobar_queries_total{outcome=\"ok\"} 1");
        served.assert_metric("isobar_sent_rows_total 20000");
        let sent = BODY.len() * messages.len();
        served.assert_metric(&format!("isobar_sent_bytes_total {sent}"));
    }

    #[tokio::test]
    async fn bound_value_is_used() {
        let served = Served::new();
        let prepared = served.queries.prepare(statement("SELECT 1 WHERE ? > 1"));
        let (handle, description) = prepared.await.expect("it is planned");
        assert_eq!(description.columns.fields().len(), 1);
        assert_eq!(description.parameters.field(0).name(), "1");
        assert!(description.require_bound().is_err());
        for (value, expected) in [(1, 0), (2, 1)] {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
            let row = RecordBatch::try_from_iter([("1", column)]).expect("a row");
            served.queries.bind(&handle, Some(row)).expect("it is kept");
            let bound = served.queries.prepared(&handle).expect("it is kept");
            let messages = served.execute(bound).await.expect("it runs");
            let messages: Vec<Message> = messages.try_collect().await.expect("it ends");
            let rows: usize = messages.iter().map(|message| message.rows).sum();
            assert_eq!(rows, expected);
        }
        served.queries.close(&handle);
        assert!(served.queries.prepared(&handle).is_err());
    }

    #[tokio::test]
    async fn dropped_stream_is_recorded_as_cancelled() {
        let served = Served::new();
        let mut messages = served.execute(statement(ENDLESS)).await.expect("it runs");
        assert!(messages.next().await.is_some_and(|message| message.is_ok()));
        assert_eq!(served.queries.running(), 1);
        drop(messages);
        served.has_ended().await;
        served.assert_metric("isobar_queries_total{outcome=\"cancelled\"} 1");
    }

    #[tokio::test]
    async fn cancelled_statement_ends_with_its_error() {
        let served = Served::new();
        let endless = statement(ENDLESS);
        let id = endless.id.clone();
        assert!(!served.queries.cancel(&id));
        let mut messages = served.execute(endless).await.expect("it runs");
        assert!(messages.next().await.is_some_and(|message| message.is_ok()));
        assert!(served.queries.cancel(&id));
        let end = messages.filter_map(|message| std::future::ready(message.err()));
        let end: Vec<Error> = end.collect().await;
        assert!(matches!(end[..], [Error::Cancelled]), "{end:?}");
        served.has_ended().await;
        served.assert_metric("isobar_queries_total{outcome=\"cancelled\"} 1");
    }

    #[tokio::test]
    async fn failure_before_the_first_row_is_recorded() {
        let served = Served::new();
        let other = Statement {
            fingerprint: Some(1),
            ..statement("SELECT 1")
        };
        let refused = served.execute(other).await.expect_err("other columns");
        assert_eq!(refused.code(), ErrorCode::Aborted);
        let unbound = served.execute(statement("SELECT $1")).await;
        let refused = unbound.expect_err("no value");
        assert_eq!(refused.code(), ErrorCode::InvalidArgument);
        served.assert_metric("isobar_queries_total{outcome=\"refused\"} 2");
    }

    /// The log of all tests of this process: the tasks of a statement run on several threads.
    #[derive(Clone, Copy)]
    struct Log;

    static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            WRITTEN.lock().expect("no test panicked").write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            Self
        }
    }

    #[tokio::test]
    async fn log_lines_of_a_statement_have_its_id() {
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(Log)
            .with_ansi(false)
            .finish();
        tracing::subscriber::set_global_default(lines).expect("no other test sets one");
        let served = Served::new();
        let written = || {
            let written = WRITTEN.lock().expect("no test panicked").clone();
            String::from_utf8(written).expect("UTF-8")
        };
        let logged = |id: &StatementId, text: &str| {
            let written = written();
            let id = format!("statement{{id={id} protocol=\"test\"}}");
            let mut lines = written.lines();
            assert!(
                lines.any(|line| line.contains(&id) && line.contains(text)),
                "{written}"
            );
        };
        // The planning thread logs the first, and the task that supervises the statement the
        // second.
        let unplanned = statement("SELECT 1");
        let planning = on_planning_thread(async {
            Err::<(), _>(Error::Encode("a bug while it is planned".into()))
        });
        let planned = planning.instrument(unplanned.span()).await;
        assert!(planned.is_err());
        logged(&unplanned.id, "a bug while it is planned");
        let statement = statement("SELECT 1");
        let id = statement.id.clone();
        let messages = served.execute(statement).await.expect("it runs");
        assert!(messages.try_collect::<Vec<_>>().await.is_ok());
        logged(&id, "statement ended");
        assert!(!written().contains("SELECT"), "no text of a statement");
    }
}
