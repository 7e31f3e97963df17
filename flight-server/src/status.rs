//! Converts errors to statuses of gRPC: a code that clients act on, and the chain of causes as
//! message.

use std::error::Error as StdError;

use allocations::MemoryExceeded;
use arrow::error::ArrowError;
use arrow_flight::sql::Command;
use datafusion::error::DataFusionError;
use engine::Error;
use lake::Failure;
use tonic::{Code, Status};
use tracing::error;

/// Limit of a message in bytes. gRPC sends it percent-encoded as a header, with up to three
/// bytes for one, and clients accept 8 KiB of headers.
const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// The status of an error of the engine.
pub(crate) fn of(failure: &Error) -> Status {
    let code = code_of(failure);
    let message = Failure::chain(failure);
    if code == Code::Internal {
        error!("{message}");
    }
    Status::new(code, shortened(message))
}

/// The status of an error that a running statement returned.
pub(crate) fn of_rows(failure: DataFusionError) -> Status {
    of(&Error::execute(failure))
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

fn code_of(failure: &Error) -> Code {
    match Failure::find(failure) {
        Some(Failure::Gone { .. }) => return Code::FailedPrecondition,
        Some(_) => return Code::Unavailable,
        None => {}
    }
    match failure {
        Error::Plan(source) | Error::Execute(source) => code_of_plan(source),
        Error::MemoryFull { .. }
        | Error::StatementMemory { .. }
        | Error::JoinMemory { .. }
        | Error::FunctionTooLarge { .. }
        | Error::FunctionTooSlow { .. }
        | Error::PlanTooLarge { .. }
        | Error::GroupingSets { .. }
        | Error::JoinPairs { .. }
        | Error::SubqueriesTooDeep { .. }
        | Error::PlanningTooLong { .. } => Code::ResourceExhausted,
        Error::Syntax { .. }
        | Error::StatementCount { .. }
        | Error::StatementTooLarge { .. }
        | Error::StatementTooDeep { .. }
        | Error::JoinByName
        | Error::ReadOnly { .. } => Code::InvalidArgument,
        Error::Lake(failure) => code_of_lake(failure),
        Error::ReadFile { .. }
        | Error::NoHeader { .. }
        | Error::Header { .. }
        | Error::Threads(_)
        | Error::SpillDirectory { .. } => Code::Internal,
    }
}

fn code_of_lake(failure: &lake::Error) -> Code {
    use lake::Error as E;
    match failure {
        E::TableName(_)
        | E::NoSuchTable { .. }
        | E::NoSuchVersion { .. }
        | E::DirectoryName { .. }
        | E::UnsupportedTable { .. } => Code::InvalidArgument,
        E::UnreadableTable { .. } | E::UnusableFile { .. } => Code::FailedPrecondition,
        E::OpenStore { .. }
        | E::UnknownScheme { .. }
        | E::Storage { .. }
        | E::OpenTable { .. }
        | E::CreateTable { .. }
        | E::Commit { .. }
        | E::TableReplaced { .. }
        | E::UnwritableTable { .. }
        | E::ForeignLog { .. }
        | E::PartitionDiffers { .. }
        | E::ColumnDiffers { .. }
        | E::ColumnLost { .. }
        | E::ColumnsChanged { .. }
        | E::Schema { .. }
        | E::ReadDataFile { .. }
        | E::TooManyConflicts { .. } => Code::Internal,
    }
}

fn code_of_plan(failure: &DataFusionError) -> Code {
    match failure.find_root() {
        DataFusionError::ResourcesExhausted(_) => Code::ResourceExhausted,
        DataFusionError::External(source) => {
            if let Some(failure) = source.downcast_ref::<Error>() {
                code_of(failure)
            } else if let Some(failure) = source.downcast_ref::<lake::Error>() {
                code_of_lake(failure)
            } else if source.is::<MemoryExceeded>() {
                Code::ResourceExhausted
            } else {
                Code::Internal
            }
        }
        // Values that an expression does not accept: a division by zero, a text that is no number.
        DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::SQL(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => Code::InvalidArgument,
        DataFusionError::ArrowError(source, _) => match source.as_ref() {
            ArrowError::CastError(_)
            | ArrowError::ParseError(_)
            | ArrowError::ComputeError(_)
            | ArrowError::DivideByZero
            | ArrowError::ArithmeticOverflow(_)
            | ArrowError::InvalidArgumentError(_)
            | ArrowError::NotYetImplemented(_) => Code::InvalidArgument,
            _ => Code::Internal,
        },
        _ => Code::Internal,
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
    use super::*;

    #[test]
    fn code_separates_client_errors_from_server_errors() {
        let check = |failure: Error, code: Code, says: &str| {
            let status = of(&failure);
            assert_eq!(status.code(), code, "{failure:?}");
            assert!(status.message().contains(says), "{}", status.message());
        };
        let exhausted = DataFusionError::ResourcesExhausted("too much".to_owned());
        let exhausted = exhausted.context("sort");
        check(
            Error::execute(exhausted),
            Code::ResourceExhausted,
            "too much",
        );
        let divided = DataFusionError::from(ArrowError::DivideByZero);
        check(Error::execute(divided), Code::InvalidArgument, "zero");
        let unknown = DataFusionError::Plan("no table \"x\"".to_owned());
        check(
            Error::plan(unknown),
            Code::InvalidArgument,
            "no table \"x\"",
        );
        let ours = DataFusionError::Internal("a bug".to_owned());
        check(Error::plan(ours), Code::Internal, "a bug");
        let refused = Error::ReadOnly {
            statement: "INSERT".to_owned(),
        };
        check(refused, Code::InvalidArgument, "INSERT");
    }

    #[test]
    fn message_is_cut_to_fit_into_a_header() {
        let long = DataFusionError::Plan("é".repeat(10_000));
        let message = of(&Error::plan(long)).message().to_owned();
        assert!(message.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8() && message.ends_with('…'));
    }
}
