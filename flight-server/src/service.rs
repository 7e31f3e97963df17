//! Executes requests: describes, runs and binds statements. Questions about the lake go to [`Answers`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{Command, DoPutPreparedStatementResult};
use arrow_flight::{FlightData, Ticket};
use bytes::Bytes;
use engine::estimate::statement_size;
use engine::runtime::QueryHandles;
use engine::session::{self, Session};
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use prost::Message as _;
use tokio::runtime::Handle;
use tonic::Status;

use crate::admission::{Place, Running};
use crate::answers::Answers;
use crate::budget::Budget;
use crate::metrics::Outcome;
use crate::plans::Plans;
use crate::prepared::{Prepared, Statements};
use crate::statements::Planned;
use crate::stream::{self as rows, Made, Messages, Rows};
use crate::ticket::Ticket as Run;
use crate::{parameters, status};

/// Flight SQL over one lake.
pub(crate) struct Service {
    pub(crate) session: Session,
    pub(crate) answers: Answers,
    pub(crate) running: Arc<Running>,
    pub(crate) prepared: Statements,
    pub(crate) plans: Arc<Plans>,
    /// Longest time of one statement, see [`crate::budget`].
    pub(crate) query_timeout: Duration,
    /// Where statements run, see [`crate::stream`].
    pub(crate) queries: QueryHandles,
}

impl Service {
    /// The statement that `command` asks for, if it asks for one.
    pub(crate) fn statement(&self, command: &Command) -> Result<Option<Prepared>, Status> {
        Ok(match command {
            Command::CommandStatementQuery(statement) => Some(Prepared::new(&statement.query)),
            Command::CommandPreparedStatementQuery(statement) => {
                let handle = &statement.prepared_statement_handle;
                Some(self.prepared.get(handle, Instant::now())?)
            }
            _ => None,
        })
    }

    /// What `command` will return, and the ticket to get it with.
    pub(crate) async fn announce(&self, command: Command) -> Result<(SchemaRef, Ticket), Status> {
        if let Some(asked) = self.statement(&command)? {
            let (schema, run) = self.announce_statement(asked).await?;
            return Ok((schema, run.sealed()));
        }
        let schema = self.answers.schema(&command)?;
        Ok((schema, Ticket::new(command.into_any().encode_to_vec())))
    }

    /// The columns of a statement, and its run.
    pub(crate) async fn announce_statement(
        &self,
        asked: Prepared,
    ) -> Result<(SchemaRef, Run), Status> {
        let budget = self.budget(asked.spent);
        let planned = self.plan(&asked, &budget).await?;
        planned.require_bound()?;
        let schema = Arc::clone(planned.wire.schema());
        let run = Run::new(asked.text, asked.parameters, &schema, budget.spent());
        Ok((schema, run))
    }

    /// The error for a statement that a client sent as an update. All SQL here is read-only.
    pub(crate) async fn refuse_update(&self, update: &Prepared) -> Status {
        match self.plan(update, &self.budget(update.spent)).await {
            Err(refusal) => refusal,
            Ok(_) => Status::invalid_argument(
                "the statement returns rows and changes nothing: ask it as a query, not as an update",
            ),
        }
    }

    /// The time for a request, after earlier ones for the same statement have `spent` some.
    pub(crate) fn budget(&self, spent: Duration) -> Budget {
        Budget::new(self.query_timeout, spent)
    }

    pub(crate) async fn plan(&self, asked: &Prepared, budget: &Budget) -> Result<Planned, Status> {
        let (session, plans) = (self.session.clone(), Arc::clone(&self.plans));
        let asked = asked.clone();
        self.wait_for_memory().await?;
        let place = self.running.begin_planning()?;
        let planning = on_planning_thread(async move {
            let planned = plans.plan(&session, &asked.text, &asked.parameters).await;
            drop(place);
            planned
        });
        budget.within(planning).await
    }

    async fn wait_for_memory(&self) -> Result<(), Status> {
        let waited = self.session.runtime().wait_for_memory().await;
        waited.map_err(|full| status::of(&full))
    }

    /// Runs a statement, and counts how it ended also when it does not get as far as rows.
    pub(crate) async fn run(&self, run: Run) -> Result<Messages, Status> {
        self.wait_for_memory().await?;
        let mut query = self.running.begin(run.id.clone())?;
        let budget = self.budget(run.spent());
        let (session, plans) = (self.session.clone(), Arc::clone(&self.plans));
        let preparing = prepare(session, plans, run, query.place());
        let prepared = tokio::select! {
            prepared = on_planning_thread(preparing) => prepared,
            () = query.token.cancelled() => Err(Status::cancelled("the statement was cancelled")),
            () = tokio::time::sleep_until(budget.deadline()) => Err(budget.exhausted()),
        };
        let admitted = prepared.and_then(|made| {
            let size = statement_size(&made.rows.plan);
            query.admit(size)?;
            Ok((made, self.queries.of(size)))
        });
        match admitted {
            Ok((made, queries)) => Ok(rows::of_query(query, made, budget, queries)),
            Err(status) => {
                query.outcome = Outcome::of(&status);
                Err(status)
            }
        }
    }

    /// Takes the values of a prepared statement's parameters.
    pub(crate) async fn bind(
        &self,
        handle: Bytes,
        mut messages: BoxStream<'static, Result<FlightData, Status>>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let (mut sent, mut bytes) = (Vec::new(), 0);
        while let Some(mut message) = messages.try_next().await? {
            message.flight_descriptor = None;
            bytes += message.encoded_len();
            if bytes > parameters::BYTES_MAX {
                return Err(Status::resource_exhausted(format!(
                    "the values of one statement may have {} bytes",
                    parameters::BYTES_MAX
                )));
            }
            sent.push(message);
        }
        let sealed = parameters::sealed(sent);
        let looked_at = sealed.clone();
        let row = on_planning_thread(async move { parameters::open(&looked_at) }).await?;
        let bound = row.map_or_else(Bytes::new, |_| sealed);
        self.prepared.bind(&handle, bound, Instant::now())?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        })
    }
}

/// Plans what a ticket asks for, down to the physical plan. Planning holds `place` until it ends, also after the client
/// has been answered (time limit, cancellation).
async fn prepare(
    session: Session,
    plans: Arc<Plans>,
    run: Run,
    place: Place,
) -> Result<Made, Status> {
    let _place = place;
    let planned = plans.plan(&session, &run.text, &run.parameters).await?;
    planned.require_bound()?;
    if !run.announced(planned.wire.schema()) {
        return Err(Status::aborted(
            "a table changed its columns since this ticket was given out; ask again",
        ));
    }
    let executable = Box::pin(session::executable(planned.frame)).await;
    let (plan, context) = executable.map_err(|error| status::of(&error))?;
    Ok(Made {
        rows: Rows {
            plan,
            context,
            wire: planned.wire,
        },
        memory: session.runtime().watch_statement(),
    })
}

/// Runs `work` on a blocking thread. Planning is CPU-bound, never yields, and takes longer for larger statements: here it
/// stalls no connection, and does not queue behind statements that run.
async fn on_planning_thread<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let runtime = Handle::current();
    let task = tokio::task::spawn_blocking(move || runtime.block_on(work));
    task.await
        .unwrap_or_else(|_panic| Err(rows::task_panicked()))
}
