//! Actions: prepared statements, cancelling, and what clients ask of a session that is not there.

use std::time::Instant;

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
use tonic::Status;

use crate::options;
use crate::prepared::Prepared;
use crate::rpc::command;
use crate::service::Service;
use crate::status::internal;
use crate::ticket::Ticket;

/// What a client can ask for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    CreatePreparedStatement,
    ClosePreparedStatement,
    CancelQuery,
    CancelFlightInfo,
    SetSessionOptions,
    GetSessionOptions,
    CloseSession,
}

impl Known {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (
            Self::CreatePreparedStatement,
            "CreatePreparedStatement",
            "Prepares a statement; returns its handle, columns and parameters",
        ),
        (
            Self::ClosePreparedStatement,
            "ClosePreparedStatement",
            "Forgets a prepared statement",
        ),
        (
            Self::CancelQuery,
            "CancelQuery",
            "Cancels a statement that runs",
        ),
        (
            Self::CancelFlightInfo,
            "CancelFlightInfo",
            "Cancels a statement that runs",
        ),
        (
            Self::SetSessionOptions,
            "SetSessionOptions",
            "Takes the catalog and the schema that are in force anyway",
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

    fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known, _)| *known == name);
        found.map(|(known, ..)| *known)
    }
}

/// All actions, for clients that ask.
pub(crate) fn list() -> impl Iterator<Item = ActionType> + Send {
    Known::ALL
        .into_iter()
        .map(|(_, name, description)| ActionType {
            r#type: name.to_owned(),
            description: description.to_owned(),
        })
}

/// Does what `action` asks for and returns the answer, if it has one.
pub(crate) async fn act(service: &Service, action: Action) -> Result<Option<Vec<u8>>, Status> {
    let Some(known) = Known::named(&action.r#type) else {
        return Err(Status::unimplemented(format!(
            "isobar does not answer {}: every statement reads, and there are no transactions",
            action.r#type
        )));
    };
    let body = &action.body;
    Ok(match known {
        Known::CreatePreparedStatement => {
            let prepared = prepare(service, unpacked(body)?).await?;
            Some(prepared.as_any().encode_to_vec())
        }
        Known::ClosePreparedStatement => {
            let request: ActionClosePreparedStatementRequest = unpacked(body)?;
            service.prepared.close(&request.prepared_statement_handle);
            None
        }
        Known::CancelQuery => {
            let request: ActionCancelQueryRequest = unpacked(body)?;
            let info = decoded::<FlightInfo>(&request.info)?;
            let result = cancel(service, &info).into();
            let result = ActionCancelQueryResult { result };
            Some(result.as_any().encode_to_vec())
        }
        Known::CancelFlightInfo => {
            let request: CancelFlightInfoRequest = decoded(body)?;
            let status = cancel(service, &request.info.unwrap_or_default()).into();
            Some(CancelFlightInfoResult { status }.encode_to_vec())
        }
        Known::SetSessionOptions => Some(options::set(decoded(body)?).encode_to_vec()),
        Known::GetSessionOptions => Some(options::get().encode_to_vec()),
        Known::CloseSession => Some(options::close().encode_to_vec()),
    })
}

async fn prepare(
    service: &Service,
    request: ActionCreatePreparedStatementRequest,
) -> Result<ActionCreatePreparedStatementResult, Status> {
    let mut asked = Prepared::new(&request.query);
    let budget = service.budget(asked.spent);
    let planned = service.plan(&asked, &budget).await?;
    asked.spent = budget.spent();
    Ok(ActionCreatePreparedStatementResult {
        dataset_schema: ipc(planned.wire.schema())?,
        parameter_schema: ipc(&planned.parameters)?,
        prepared_statement_handle: service.prepared.add(asked, Instant::now()),
    })
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    Ok(message.map_err(|error: ArrowError| internal(&error))?.0)
}

/// Cancels the runs of all tickets of `info`. The numbers of both kinds of answer are the same.
fn cancel(service: &Service, info: &FlightInfo) -> CancelStatus {
    let tickets = info.endpoint.iter().filter_map(|endpoint| {
        let sealed = command(&endpoint.ticket.as_ref()?.ticket).ok()?;
        match sealed {
            Command::TicketStatementQuery(sealed) => Ticket::open(&sealed).ok(),
            _ => None,
        }
    });
    let cancelled = tickets.filter(|ticket| service.running.cancel(&ticket.id));
    match cancelled.count() {
        // It has ended, or has not begun.
        0 => CancelStatus::NotCancellable,
        _ => CancelStatus::Cancelled,
    }
}

/// A message of Flight itself.
fn decoded<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|_| Status::invalid_argument("the action's body cannot be read"))
}

/// A message of Flight SQL, which travels in an envelope.
fn unpacked<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let any: Any = decoded(body)?;
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
    fn every_action_is_found_by_the_name_that_is_listed() {
        assert_eq!(list().count(), Known::ALL.len());
        for (known, name, _) in Known::ALL {
            assert_eq!(Known::named(name), Some(known));
        }
        assert_eq!(Known::named("BeginTransaction"), None);
    }

    #[test]
    fn both_answers_to_a_cancel_have_the_same_numbers() {
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
