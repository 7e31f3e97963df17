//! Converts errors to statuses of gRPC: a code that clients act on, and the chain of causes as
//! message.

use std::error::Error as StdError;

use arrow_flight::sql::Command;
use lake::Failure;
use query_service::{Error, ErrorCode};
use tonic::{Code, Status};
use tracing::error;

/// Limit of a message in bytes. gRPC sends it percent-encoded as a header, with up to three
/// bytes for one, and clients accept 8 KiB of headers.
const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// The status of a statement that failed.
pub(crate) fn of(failure: Error) -> Status {
    let message = match &failure {
        // Here a statement is described by its ticket.
        Error::ColumnsChanged => {
            "a table changed its columns since this ticket was issued; describe the statement again"
                .to_owned()
        }
        failure => failure.message(),
    };
    Status::new(grpc_code(failure.code()), shortened(message))
}

/// The status of a failed read of the lake, outside of any statement.
pub(crate) fn of_lake(failure: lake::Error) -> Status {
    let status = of(engine::Error::from(failure).into());
    if status.code() == Code::Internal {
        error!("{}", status.message());
    }
    status
}

/// The status of an error that is a bug.
pub(crate) fn internal(failure: &(dyn StdError + 'static)) -> Status {
    let message = Failure::chain(failure);
    error!("{message}");
    Status::internal(shortened(message))
}

/// The status of a command that the server does not implement.
pub(crate) fn unsupported(command: &Command) -> Status {
    let name = command.type_url();
    let name = name.rsplit(['.', '/']).next().unwrap_or(name);
    Status::unimplemented(format!("isobar does not answer {name}"))
}

fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::FailedPrecondition => Code::FailedPrecondition,
        ErrorCode::ResourceExhausted => Code::ResourceExhausted,
        ErrorCode::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorCode::Cancelled => Code::Cancelled,
        ErrorCode::Aborted => Code::Aborted,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::Internal => Code::Internal,
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use datafusion::error::DataFusionError;

    use super::*;

    #[test]
    fn message_is_cut_to_fit_into_a_header() {
        let long = DataFusionError::Plan("é".repeat(10_000));
        let message = of(engine::Error::plan(long).into()).message().to_owned();
        assert!(message.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8() && message.ends_with('…'));
    }

    #[test]
    fn columns_that_changed_are_those_of_a_ticket() {
        let status = of(Error::ColumnsChanged);
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(
            status.message(),
            "a table changed its columns since this ticket was issued; describe the statement again"
        );
    }
}
