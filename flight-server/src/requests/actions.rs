//! Actions: prepared statements, cancellation, and the options of a session that does not exist.

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command,
    ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
    IpcMessage, SchemaAsIpc,
};
use bytes::Bytes;
use prost::Message;
use query_service::{Statement, StatementId};
use tonic::Status;

use crate::requests::command::decode_command;
use crate::requests::parameters::parameter_types;
use crate::requests::service::{PROTOCOL, Service};
use crate::requests::session_options;
use crate::requests::ticket::StatementTicket;
use crate::status::{self, internal};

/// The actions that the server executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActionKind {
    CreatePreparedStatement,
    ClosePreparedStatement,
    CancelQuery,
    CancelFlightInfo,
    SetSessionOptions,
    GetSessionOptions,
    CloseSession,
}

impl ActionKind {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (
            Self::CreatePreparedStatement,
            "CreatePreparedStatement",
            "Prepares a statement; returns its handle, columns and parameters",
        ),
        (
            Self::ClosePreparedStatement,
            "ClosePreparedStatement",
            "Closes a prepared statement",
        ),
        (
            Self::CancelQuery,
            "CancelQuery",
            "Cancels a running statement",
        ),
        (
            Self::CancelFlightInfo,
            "CancelFlightInfo",
            "Cancels a running statement",
        ),
        (
            Self::SetSessionOptions,
            "SetSessionOptions",
            "Accepts the catalog and the schema of every session, and no other option",
        ),
        (
            Self::GetSessionOptions,
            "GetSessionOptions",
            "Returns the catalog and the schema",
        ),
        (
            Self::CloseSession,
            "CloseSession",
            "Does nothing: there are no sessions",
        ),
    ];

    fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, listed, _)| *listed == name);
        found.map(|(kind, ..)| *kind)
    }
}

/// The types of all actions, as `ListActions` returns them.
pub(crate) fn action_types() -> impl Iterator<Item = ActionType> + Send {
    ActionKind::ALL
        .into_iter()
        .map(|(_, name, description)| ActionType {
            r#type: name.to_owned(),
            description: description.to_owned(),
        })
}

/// Executes `action`, and returns the body of its result, if it has one.
pub(crate) async fn execute(service: &Service, action: Action) -> Result<Option<Vec<u8>>, Status> {
    let Some(kind) = ActionKind::from_name(&action.r#type) else {
        return Err(Status::unimplemented(format!(
            "isobar does not answer {}: every statement reads, and there are no transactions",
            action.r#type
        )));
    };
    let body = &action.body;
    Ok(match kind {
        ActionKind::CreatePreparedStatement => {
            let prepared = prepare(service, decode_any(body)?).await?;
            Some(prepared.as_any().encode_to_vec())
        }
        ActionKind::ClosePreparedStatement => {
            let request: ActionClosePreparedStatementRequest = decode_any(body)?;
            service.queries.close(&request.prepared_statement_handle);
            None
        }
        ActionKind::CancelQuery => {
            let request: ActionCancelQueryRequest = decode_any(body)?;
            let info = decode_message::<FlightInfo>(&request.info)?;
            let result = cancel(service, &info).into();
            let result = ActionCancelQueryResult { result };
            Some(result.as_any().encode_to_vec())
        }
        ActionKind::CancelFlightInfo => {
            let request: CancelFlightInfoRequest = decode_message(body)?;
            let status = cancel(service, &request.info.unwrap_or_default()).into();
            Some(CancelFlightInfoResult { status }.encode_to_vec())
        }
        ActionKind::SetSessionOptions => {
            Some(session_options::set(decode_message(body)?).encode_to_vec())
        }
        ActionKind::GetSessionOptions => Some(session_options::get().encode_to_vec()),
        ActionKind::CloseSession => Some(session_options::close().encode_to_vec()),
    })
}

async fn prepare(
    service: &Service,
    request: ActionCreatePreparedStatementRequest,
) -> Result<ActionCreatePreparedStatementResult, Status> {
    let statement = Statement::new(PROTOCOL, &request.query);
    let prepared = service.queries.prepare(statement).await;
    let (handle, description) = prepared.map_err(status::of)?;
    Ok(ActionCreatePreparedStatementResult {
        dataset_schema: ipc(&description.columns)?,
        parameter_schema: ipc(&parameter_types(&description.parameters))?,
        prepared_statement_handle: handle,
    })
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    Ok(message.map_err(|error: ArrowError| internal(&error))?.0)
}

/// Cancels the running statements of all tickets of `info`. `CancelStatus` has the numbers of
/// `CancelResult`.
fn cancel(service: &Service, info: &FlightInfo) -> CancelStatus {
    let tickets = info.endpoint.iter().filter_map(|endpoint| {
        let command = decode_command(&endpoint.ticket.as_ref()?.ticket).ok()?;
        match command {
            Command::TicketStatementQuery(handle) => StatementTicket::from_flight(&handle).ok(),
            _ => None,
        }
    });
    let cancelled = tickets.filter(|ticket| {
        service
            .queries
            .cancel(&StatementId::from_bytes(ticket.id.clone()))
    });
    match cancelled.count() {
        // The statement has ended, or has not started.
        0 => CancelStatus::NotCancellable,
        _ => CancelStatus::Cancelled,
    }
}

/// Decodes a message of Flight.
fn decode_message<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|_| Status::invalid_argument("the action's body cannot be read"))
}

/// Decodes a message of Flight SQL, which is wrapped in `Any`.
fn decode_any<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let any: Any = decode_message(body)?;
    let message = any.unpack().ok().flatten();
    message.ok_or_else(|| {
        Status::invalid_argument(format!("the action's body is no {}", M::type_url()))
    })
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::ActionCancelQueryResult;

    use super::*;

    #[test]
    fn every_listed_action_is_found_by_its_name() {
        assert_eq!(action_types().count(), ActionKind::ALL.len());
        for (kind, name, _) in ActionKind::ALL {
            assert_eq!(ActionKind::from_name(name), Some(kind));
        }
        assert_eq!(ActionKind::from_name("BeginTransaction"), None);
    }

    #[test]
    fn cancel_status_has_the_numbers_of_cancel_result() {
        for status in [CancelStatus::Cancelled, CancelStatus::NotCancellable] {
            let result = status.into();
            let answer = ActionCancelQueryResult { result };
            assert_eq!(
                answer
                    .result()
                    .as_str_name()
                    .trim_start_matches("CANCEL_RESULT_"),
                status.as_str_name().trim_start_matches("CANCEL_STATUS_")
            );
        }
    }
}
