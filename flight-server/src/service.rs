//! The service: a request is taken apart into a command of Flight SQL, and each command has one place that
//! answers it.
//!
//! arrow-flight's own `FlightSqlService` cannot be asked for a schema or polled, so this implements what lies
//! below it. `GetFlightInfo`, `GetSchema` and `PollFlightInfo` then are one question in three forms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use arrow_flight::sql::{Any, Command, DoPutPreparedStatementResult};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use async_trait::async_trait;
use bytes::Bytes;
use engine::lake::Lake;
use engine::session::Session;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use tokio::runtime::Handle;
use tonic::{Request, Response, Status, Streaming};

use crate::error::Error;
use crate::metrics::Outcome;
use crate::prepared::{Prepared, Statements};
use crate::running::Running;
use crate::sql_info::{self, About};
use crate::statements::{self, Planned};
use crate::stream::{self as rows, Made, Messages};
use crate::ticket::Ticket as Run;
use crate::{actions, metadata, parameters, status, type_info};

/// Flight SQL over one lake. Clones serve the same.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) session: Session,
    pub(crate) lake: Arc<Lake>,
    pub(crate) running: Arc<Running>,
    pub(crate) prepared: Arc<Statements>,
    /// Longest time of one statement.
    pub(crate) query_timeout: Duration,
    /// Where statements run, see [`crate::stream`].
    queries: Handle,
    sql_info: Arc<SqlInfoData>,
    type_info: Arc<XdbcTypeInfoData>,
}

impl Service {
    pub(crate) fn new(
        session: Session,
        lake: Arc<Lake>,
        running: Arc<Running>,
        prepared: Statements,
        queries: Handle,
        about: About,
    ) -> Result<Self, Error> {
        Ok(Self {
            sql_info: Arc::new(sql_info::build(&session, about).map_err(Error::Describe)?),
            type_info: Arc::new(type_info::build().map_err(Error::Describe)?),
            query_timeout: about.query_timeout,
            session,
            lake,
            running,
            prepared: Arc::new(prepared),
            queries,
        })
    }

    /// What `command` will return, and the ticket to get it with.
    async fn announce(&self, command: Command) -> Result<(SchemaRef, Ticket), Status> {
        match command {
            Command::CommandStatementQuery(statement) => {
                let prepared = Prepared {
                    text: parameters::numbered(&statement.query),
                    parameters: Bytes::new(),
                };
                self.announce_statement(prepared).await
            }
            Command::CommandPreparedStatementQuery(statement) => {
                let handle = &statement.prepared_statement_handle;
                self.announce_statement(self.prepared.get(handle, Instant::now())?)
                    .await
            }
            other => {
                let schema = self.described(&other)?;
                Ok((schema, Ticket::new(other.into_any().encode_to_vec())))
            }
        }
    }

    async fn announce_statement(&self, asked: Prepared) -> Result<(SchemaRef, Ticket), Status> {
        let planned = self.plan(&asked).await?;
        planned.require_bound()?;
        let schema = Arc::clone(planned.wire.schema());
        let run = Run::new(asked.text, asked.parameters, &schema);
        Ok((schema, run.sealed()))
    }

    pub(crate) async fn plan(&self, asked: &Prepared) -> Result<Planned, Status> {
        let (session, asked) = (self.session.clone(), asked.clone());
        let planning =
            apart(async move { statements::plan(&session, &asked.text, &asked.parameters).await });
        tokio::time::timeout(self.query_timeout, planning)
            .await
            .unwrap_or_else(|_elapsed| Err(rows::timed_out(self.query_timeout)))
    }

    /// The columns of an answer about the lake or the service.
    fn described(&self, command: &Command) -> Result<SchemaRef, Status> {
        match command {
            // Their columns do not depend on what the lake holds.
            Command::CommandGetTables(asked) => Ok(metadata::tables_schema(asked)),
            other => match self.described_rows(other.clone()) {
                Some(rows) => Ok(rows.map_err(|error| status::internal(&error))?.schema()),
                None => Err(unsupported(other)),
            },
        }
    }

    /// Answers that need no storage; `None` for anything else.
    fn described_rows(&self, command: Command) -> Option<Result<RecordBatch, FlightError>> {
        Some(match command {
            Command::CommandGetCatalogs(_) => metadata::catalogs(),
            Command::CommandGetDbSchemas(asked) => metadata::schemas(asked),
            Command::CommandGetTableTypes(_) => metadata::table_types(),
            Command::CommandGetPrimaryKeys(_) => Ok(metadata::primary_keys()),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => Ok(metadata::foreign_keys()),
            Command::CommandGetSqlInfo(asked) => asked.into_builder(&self.sql_info).build(),
            Command::CommandGetXdbcTypeInfo(asked) => self.type_info.record_batch(asked.data_type),
            _ => return None,
        })
    }

    /// The rows of an answer about the lake or the service.
    async fn described_messages(&self, command: Command) -> Result<Messages, Status> {
        let rows = match command {
            Command::CommandGetTables(asked) => metadata::tables(&self.lake, asked).await?,
            other => match self.described_rows(other.clone()) {
                Some(rows) => rows.map_err(|error| status::internal(&error))?,
                None => return Err(unsupported(&other)),
            },
        };
        Ok(rows::of_batch(rows))
    }

    /// Runs a statement, and counts how it ended also when it does not get as far as rows.
    async fn run(&self, run: Run) -> Result<Messages, Status> {
        let mut query = self.running.begin(run.id.clone())?;
        let deadline = query.started + self.query_timeout;
        let prepared = tokio::select! {
            prepared = apart(prepare(self.session.clone(), run)) => prepared,
            () = query.token.cancelled() => Err(Status::cancelled("the statement was cancelled")),
            () = tokio::time::sleep_until(deadline.into()) => Err(rows::timed_out(self.query_timeout)),
        };
        match prepared {
            Ok(made) => Ok(rows::of_query(
                query,
                made,
                self.query_timeout,
                &self.queries,
            )),
            Err(status) => {
                query.outcome = Outcome::of(&status);
                Err(status)
            }
        }
    }

    /// Takes the values of a prepared statement's parameters.
    async fn bind(
        &self,
        handle: Bytes,
        messages: BoxStream<'static, Result<FlightData, Status>>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let mut bytes = 0;
        let counted = messages.map(move |message| {
            let message = message?;
            bytes += message.data_body.len() + message.data_header.len();
            if bytes > parameters::BYTES_MAX {
                return Err(FlightError::from(Status::resource_exhausted(format!(
                    "the values of one statement may have {} bytes",
                    parameters::BYTES_MAX
                ))));
            }
            Ok(message)
        });
        let mut batches = FlightRecordBatchStream::new_from_flight_data(counted);
        let mut bound = Bytes::new();
        while let Some(row) = batches.try_next().await.map_err(Status::from)? {
            if row.num_columns() == 0 {
                continue;
            }
            if row.num_rows() != 1 || !bound.is_empty() {
                return Err(Status::invalid_argument("bind one row of values at a time"));
            }
            bound = parameters::encode(&row).map_err(|error| status::internal(&error))?;
        }
        self.prepared.bind(&handle, bound, Instant::now())?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        })
    }
}

#[async_trait]
impl FlightService for Service {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = Messages;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented(
            "this server knows no users yet: connect without user and password",
        ))
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let descriptor = request.into_inner();
        let (schema, ticket) = self.announce(command(&descriptor.cmd)?).await?;
        flight_info(descriptor, &schema, ticket).map(Response::new)
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        // Rows are made while they are fetched, so there is nothing to wait for: the first poll is the last.
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(PollInfo::new().with_info(info)))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let (schema, _) = self.announce(command(&request.get_ref().cmd)?).await?;
        let options = IpcWriteOptions::default();
        let schema = SchemaAsIpc::new(&schema, &options).try_into();
        Ok(Response::new(schema.map_err(internal)?))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Messages>, Status> {
        let messages = match command(&request.get_ref().ticket)? {
            Command::TicketStatementQuery(sealed) => self.run(Run::open(&sealed)?).await?,
            // Some clients skip the announcement and fetch by the command itself.
            asked @ (Command::CommandStatementQuery(_)
            | Command::CommandPreparedStatementQuery(_)) => {
                let (_, ticket) = self.announce(asked).await?;
                let Command::TicketStatementQuery(sealed) = command(&ticket.ticket)? else {
                    return Err(Status::internal("a statement's ticket is not one"));
                };
                self.run(Run::open(&sealed)?).await?
            }
            other => self.described_messages(other).await?,
        };
        Ok(Response::new(messages))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let mut messages = request.into_inner();
        let Some(first) = messages.try_next().await? else {
            return Err(Status::invalid_argument("nothing was put"));
        };
        let Some(descriptor) = first.flight_descriptor.clone() else {
            return Err(Status::invalid_argument(
                "the first message has no descriptor",
            ));
        };
        match command(&descriptor.cmd)? {
            Command::CommandPreparedStatementQuery(statement) => {
                let messages = stream::iter([Ok(first)]).chain(messages).boxed();
                let bound = self
                    .bind(statement.prepared_statement_handle, messages)
                    .await?;
                let app_metadata = bound.encode_to_vec().into();
                let answer = stream::iter([Ok(PutResult { app_metadata })]);
                Ok(Response::new(answer.boxed()))
            }
            Command::CommandStatementUpdate(update) => {
                let text = parameters::numbered(&update.query);
                Err(statements::refuse_update(&self.session, &text).await)
            }
            Command::CommandPreparedStatementUpdate(update) => {
                let handle = &update.prepared_statement_handle;
                let prepared = self.prepared.get(handle, Instant::now())?;
                Err(statements::refuse_update(&self.session, &prepared.text).await)
            }
            Command::CommandStatementIngest(ingest) => Err(Status::invalid_argument(format!(
                "rows cannot be ingested into \"{}\": SQL only reads the lake",
                ingest.table
            ))),
            other => Err(unsupported(&other)),
        }
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let results = actions::act(self, request.into_inner()).await?;
        let results = results
            .into_iter()
            .map(|body| Ok(arrow_flight::Result::new(body)));
        Ok(Response::new(
            stream::iter(results.collect::<Vec<_>>()).boxed(),
        ))
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(stream::iter(actions::list().map(Ok)).boxed()))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented(
            "isobar exchanges no rows: it only sends them",
        ))
    }
}

/// Plans what a ticket asks for, down to what will run.
async fn prepare(session: Session, run: Run) -> Result<Made, Status> {
    let planned = statements::plan(&session, &run.text, &run.parameters).await?;
    planned.require_bound()?;
    if !run.announced(planned.wire.schema()) {
        return Err(Status::aborted(
            "a table changed its columns since this ticket was given out; ask again",
        ));
    }
    let context = Arc::new(planned.frame.task_ctx());
    let plan = Box::pin(planned.frame.create_physical_plan()).await;
    Ok(Made {
        plan: plan.map_err(|error| status::of(&engine::Error::Plan(error)))?,
        context,
        wire: planned.wire,
    })
}

/// Plans on a thread of its own. The planner computes as long as a statement is large, without looking up, and must
/// keep no connection waiting; nor must it wait for statements that run.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let runtime = Handle::current();
    let task = tokio::task::spawn_blocking(move || runtime.block_on(work));
    task.await.unwrap_or_else(|_panic| Err(rows::broke_off()))
}

/// The command in a descriptor or a ticket.
pub(crate) fn command(message: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(message);
    let any = any.map_err(|_| Status::invalid_argument("this is no message of Flight SQL"))?;
    let name = any.type_url.clone();
    Command::try_from(any)
        .map_err(|_| Status::invalid_argument(format!("this is no message of type {name}")))
}

fn unsupported(command: &Command) -> Status {
    let name = command.type_url();
    let name = name.rsplit(['.', '/']).next().unwrap_or(name);
    Status::unimplemented(format!("isobar does not answer {name}"))
}

fn flight_info(
    descriptor: FlightDescriptor,
    schema: &SchemaRef,
    ticket: Ticket,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(internal)?;
    // No location: the rows are where they were asked for.
    let endpoint = FlightEndpoint::new().with_ticket(ticket);
    Ok(info
        .with_descriptor(descriptor)
        .with_endpoint(endpoint)
        .with_total_records(-1)
        .with_total_bytes(-1)
        .with_ordered(true))
}

pub(crate) fn internal(error: arrow::error::ArrowError) -> Status {
    status::internal(&error)
}
