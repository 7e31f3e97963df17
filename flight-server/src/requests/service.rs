//! Executes requests: describes, runs and binds statements. [`MetadataService`] answers the others.

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

use crate::execution::admission::{RunningStatements, StatementPermit};
use crate::execution::budget::Budget;
use crate::execution::stream::{self as rows, ExecutablePlan, Messages};
use crate::metadata::MetadataService;
use crate::metrics::Outcome;
use crate::requests::ticket::StatementTicket;
use crate::statements::PlannedStatement;
use crate::statements::parameters;
use crate::statements::plan_cache::PlanCache;
use crate::statements::prepared::{PreparedStatement, PreparedStatements};
use crate::status;

/// Flight SQL over one lake.
pub(crate) struct Service {
    pub(crate) session: Session,
    pub(crate) metadata: MetadataService,
    pub(crate) running: Arc<RunningStatements>,
    pub(crate) prepared: PreparedStatements,
    pub(crate) plans: Arc<PlanCache>,
    /// Longest time of one statement, see [`crate::execution::budget`].
    pub(crate) query_timeout: Duration,
    /// The runtimes that statements run on, see [`crate::execution::stream`].
    pub(crate) queries: QueryHandles,
}

impl Service {
    /// The statement in `command`; `None` where it is a metadata command.
    pub(crate) fn statement(&self, command: &Command) -> Result<Option<PreparedStatement>, Status> {
        Ok(match command {
            Command::CommandStatementQuery(statement) => {
                Some(PreparedStatement::new(&statement.query))
            }
            Command::CommandPreparedStatementQuery(statement) => {
                let handle = &statement.prepared_statement_handle;
                Some(self.prepared.get(handle, Instant::now())?)
            }
            _ => None,
        })
    }

    /// The columns that `command` will return, and the ticket to fetch its rows with.
    pub(crate) async fn describe(&self, command: Command) -> Result<(SchemaRef, Ticket), Status> {
        if let Some(statement) = self.statement(&command)? {
            let (schema, ticket) = self.describe_statement(statement).await?;
            return Ok((schema, ticket.to_flight()));
        }
        let schema = self.metadata.schema(&command)?;
        Ok((schema, Ticket::new(command.into_any().encode_to_vec())))
    }

    /// The columns of a statement, and its ticket.
    pub(crate) async fn describe_statement(
        &self,
        statement: PreparedStatement,
    ) -> Result<(SchemaRef, StatementTicket), Status> {
        let budget = self.budget(statement.spent);
        let planned = self.plan(&statement, &budget).await?;
        planned.require_bound()?;
        let schema = Arc::clone(planned.client_types.schema());
        let (text, parameters) = (statement.text, statement.parameters);
        let ticket = StatementTicket::new(text, parameters, &schema, budget.spent());
        Ok((schema, ticket))
    }

    /// The error for a statement that a client sent as an update: every statement only reads.
    pub(crate) async fn refuse_update(&self, update: &PreparedStatement) -> Status {
        match self.plan(update, &self.budget(update.spent)).await {
            Err(refusal) => refusal,
            Ok(_) => Status::invalid_argument(
                "the statement returns rows and changes nothing: send it as a query, not as an update",
            ),
        }
    }

    /// The time budget of a request; earlier requests for the same statement have `spent` some.
    pub(crate) fn budget(&self, spent: Duration) -> Budget {
        Budget::new(self.query_timeout, spent)
    }

    pub(crate) async fn plan(
        &self,
        statement: &PreparedStatement,
        budget: &Budget,
    ) -> Result<PlannedStatement, Status> {
        let (session, plans) = (self.session.clone(), Arc::clone(&self.plans));
        let statement = statement.clone();
        self.wait_for_memory().await?;
        let permit = self.running.begin_planning()?;
        let planning = on_planning_thread(async move {
            let planned = plans
                .plan(&session, &statement.text, &statement.parameters)
                .await;
            drop(permit);
            planned
        });
        budget.within(planning).await
    }

    async fn wait_for_memory(&self) -> Result<(), Status> {
        let waited = self.session.runtime().wait_for_memory().await;
        waited.map_err(|full| status::of(&full))
    }

    /// Runs a statement, and records its outcome, even when it fails before its first row.
    pub(crate) async fn run(&self, ticket: StatementTicket) -> Result<Messages, Status> {
        self.wait_for_memory().await?;
        let mut statement = self.running.begin(ticket.id.clone())?;
        let budget = self.budget(ticket.spent());
        let (session, plans) = (self.session.clone(), Arc::clone(&self.plans));
        let preparing = prepare(session, plans, ticket, statement.permit());
        let prepared = tokio::select! {
            prepared = on_planning_thread(preparing) => prepared,
            () = statement.token.cancelled() => Err(Status::cancelled("the statement was cancelled")),
            () = tokio::time::sleep_until(budget.deadline()) => Err(budget.exhausted()),
        };
        let admitted = prepared.and_then(|executable| {
            let size = statement_size(&executable.plan);
            statement.admit(size)?;
            Ok((executable, self.queries.of(size)))
        });
        match admitted {
            Ok((executable, queries)) => {
                Ok(rows::from_plan(statement, executable, budget, queries))
            }
            Err(status) => {
                statement.outcome = Outcome::of(&status);
                Err(status)
            }
        }
    }

    /// Binds the values that a client sends to the parameters of a prepared statement.
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
        let encoded = parameters::encode_values(sent);
        let to_check = encoded.clone();
        let row = on_planning_thread(async move { parameters::decode_values(&to_check) }).await?;
        let bound = row.map_or_else(Bytes::new, |_| encoded);
        self.prepared.bind(&handle, bound, Instant::now())?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        })
    }
}

/// Plans the statement of `ticket`, down to the physical plan. Planning holds `permit` until it
/// ends, even after the client was answered because of the time limit or a cancellation.
async fn prepare(
    session: Session,
    plans: Arc<PlanCache>,
    ticket: StatementTicket,
    permit: StatementPermit,
) -> Result<ExecutablePlan, Status> {
    let _permit = permit;
    let planned = plans
        .plan(&session, &ticket.text, &ticket.parameters)
        .await?;
    planned.require_bound()?;
    if !ticket.matches(planned.client_types.schema()) {
        return Err(Status::aborted(
            "a table changed its columns since this ticket was issued; describe the statement again",
        ));
    }
    let executable = Box::pin(session::executable(planned.frame)).await;
    let (plan, context) = executable.map_err(|error| status::of(&error))?;
    Ok(ExecutablePlan {
        plan,
        context,
        client_types: planned.client_types,
        memory: session.runtime().watch_statement(),
    })
}

/// Runs `work` on a blocking thread. Planning is CPU-bound, never yields, and takes longer for
/// larger statements: here it blocks no connection, and does not queue behind running statements.
async fn on_planning_thread<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let runtime = Handle::current();
    let task = tokio::task::spawn_blocking(move || runtime.block_on(work));
    task.await
        .unwrap_or_else(|_panic| Err(rows::task_panicked()))
}
