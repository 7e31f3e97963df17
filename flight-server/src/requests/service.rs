//! Executes requests: the query service describes, executes and prepares statements, and
//! [`MetadataService`] answers the others.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{Command, DoPutPreparedStatementResult};
use arrow_flight::{FlightData, Ticket};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use query_service::{QueryService, Statement};
use tonic::Status;

use crate::metadata::MetadataService;
use crate::requests::parameters;
use crate::requests::rows::{self, Messages};
use crate::requests::ticket::StatementTicket;
use crate::status;

/// Names the protocol in the log.
pub(crate) const PROTOCOL: &str = "flight_sql";

/// Flight SQL over one lake.
pub(crate) struct Service {
    pub(crate) metadata: MetadataService,
    pub(crate) queries: QueryService,
}

impl Service {
    /// The statement in `command`; `None` where it is a metadata command.
    pub(crate) fn statement(&self, command: &Command) -> Result<Option<Statement>, Status> {
        Ok(match command {
            Command::CommandStatementQuery(statement) => {
                Some(Statement::new(PROTOCOL, &statement.query))
            }
            Command::CommandPreparedStatementQuery(statement) => {
                let handle = &statement.prepared_statement_handle;
                Some(self.queries.prepared(handle).map_err(status::of)?)
            }
            _ => None,
        })
    }

    /// The columns that `command` will return, and the ticket to fetch its rows with.
    pub(crate) async fn describe(&self, command: Command) -> Result<(SchemaRef, Ticket), Status> {
        if let Some(statement) = self.statement(&command)? {
            let (schema, statement) = self.describe_statement(statement).await?;
            return Ok((schema, StatementTicket::new(statement)?.to_flight()));
        }
        let schema = self.metadata.schema(&command)?;
        Ok((schema, Ticket::new(command.into_any().encode_to_vec())))
    }

    /// The columns of a statement, and the statement for its ticket.
    pub(crate) async fn describe_statement(
        &self,
        statement: Statement,
    ) -> Result<(SchemaRef, Statement), Status> {
        let description = self.queries.describe(&statement).await;
        let description = description.map_err(status::of)?;
        description.require_bound().map_err(status::of)?;
        let schema = Arc::clone(&description.columns);
        Ok((schema, statement.described(&description)))
    }

    /// The error for a statement that a client sent as an update: every statement only reads.
    pub(crate) async fn refuse_update(&self, update: &Statement) -> Status {
        match self.queries.describe(update).await {
            Err(refusal) => status::of(refusal),
            Ok(_) => Status::invalid_argument(
                "the statement returns rows and changes nothing: send it as a query, not as an update",
            ),
        }
    }

    /// Executes a statement, and encodes its rows.
    pub(crate) async fn run(&self, statement: Statement) -> Result<Messages, Status> {
        let messages = self.queries.execute(statement, rows::encode, rows::body);
        let messages = messages.await.map_err(status::of)?;
        Ok(messages.map_err(status::of).boxed())
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
        let row = parameters::decode(sent).await?;
        self.queries.bind(&handle, row).map_err(status::of)?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        })
    }
}
