//! Decodes the command of a request.

use arrow_flight::sql::{Any, Command};
use prost::Message as _;
use tonic::Status;

/// The command in a descriptor or a ticket.
pub(crate) fn decode_command(message: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(message);
    let any = any.map_err(|_| Status::invalid_argument("this is no message of Flight SQL"))?;
    let name = any.type_url.clone();
    Command::try_from(any)
        .map_err(|_| Status::invalid_argument(format!("this is no message of type {name}")))
}
