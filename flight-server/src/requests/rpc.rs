//! The calls of Flight: each is decoded to a command of Flight SQL, which [`Service`] executes.
//!
//! arrow-flight's `FlightSqlService` supports neither `GetSchema` nor `PollFlightInfo`, so this
//! implements the trait below it. Both calls and `GetFlightInfo` then describe a command.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::Command;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use query_service::Statement;
use tonic::{Request, Response, Status, Streaming};

use crate::requests::actions;
use crate::requests::command::decode_command;
use crate::requests::rows::{self, Messages};
use crate::requests::service::{PROTOCOL, Service};
use crate::requests::ticket::StatementTicket;
use crate::status::{self, internal, unsupported};

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
        let (schema, ticket) = self.describe(decode_command(&descriptor.cmd)?).await?;
        flight_info(descriptor, &schema, ticket).map(Response::new)
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        // A statement computes its rows while the client fetches them, so the first poll is
        // complete.
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(PollInfo::new().with_info(info)))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let (schema, _) = self
            .describe(decode_command(&request.get_ref().cmd)?)
            .await?;
        let options = IpcWriteOptions::default();
        let schema = SchemaAsIpc::new(&schema, &options).try_into();
        Ok(Response::new(
            schema.map_err(|error: ArrowError| internal(&error))?,
        ))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Messages>, Status> {
        let command = decode_command(&request.get_ref().ticket)?;
        let messages = if let Command::TicketStatementQuery(query) = &command {
            let ticket = StatementTicket::from_flight(query)?;
            self.run(ticket.into_statement().await?).await?
        } else if let Some(statement) = self.statement(&command)? {
            // Some clients skip `GetFlightInfo`, and fetch with the command as the ticket.
            let (_, statement) = self.describe_statement(statement).await?;
            self.run(statement).await?
        } else {
            rows::from_batch(self.metadata.rows(command).await?)
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
        match decode_command(&descriptor.cmd)? {
            Command::CommandPreparedStatementQuery(statement) => {
                let messages = stream::iter([Ok(first)]).chain(messages).boxed();
                let bound = self
                    .bind(statement.prepared_statement_handle, messages)
                    .await?;
                let app_metadata = bound.encode_to_vec().into();
                let answer = stream::iter([Ok(PutResult { app_metadata })]);
                Ok(Response::new(answer.boxed()))
            }
            Command::CommandStatementUpdate(update) => Err(self
                .refuse_update(&Statement::new(PROTOCOL, &update.query))
                .await),
            Command::CommandPreparedStatementUpdate(update) => {
                let handle = &update.prepared_statement_handle;
                let prepared = self.queries.prepared(handle).map_err(status::of)?;
                Err(self.refuse_update(&prepared).await)
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
        let results = actions::execute(self, request.into_inner()).await?;
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
        Ok(Response::new(
            stream::iter(actions::action_types().map(Ok)).boxed(),
        ))
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

fn flight_info(
    descriptor: FlightDescriptor,
    schema: &SchemaRef,
    ticket: Ticket,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| internal(&error))?;
    // Without a location, the client fetches from the server that it is connected to.
    let endpoint = FlightEndpoint::new().with_ticket(ticket);
    Ok(info
        .with_descriptor(descriptor)
        .with_endpoint(endpoint)
        .with_total_records(-1)
        .with_total_bytes(-1)
        .with_ordered(true))
}
