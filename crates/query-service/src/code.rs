//! Classifies errors by what a client does about them.
//!
//! The codes are those that the protocols have words for; each server maps them to its own.

use allocations::MemoryExceeded;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use engine::Error;
use lake::Failure;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The statement or its values are wrong, whatever the lake holds.
    InvalidArgument,
    /// A table cannot be read before an operator has mended it.
    FailedPrecondition,
    /// A limit is reached, of the statement or of the process.
    ResourceExhausted,
    /// The time limit has passed.
    DeadlineExceeded,
    /// A client cancelled the statement, or disconnected.
    Cancelled,
    /// The lake changed between two requests: the client begins again.
    Aborted,
    /// There is no such prepared statement.
    NotFound,
    /// The storage does not answer; a later attempt may succeed.
    Unavailable,
    /// A bug.
    Internal,
}

/// The code of an error of the engine.
pub(crate) fn of_engine(failure: &Error) -> ErrorCode {
    match Failure::find(failure) {
        Some(Failure::Gone { .. }) => return ErrorCode::FailedPrecondition,
        Some(_) => return ErrorCode::Unavailable,
        None => {}
    }
    match failure {
        Error::Plan(source) | Error::Execute(source) => of_plan(source),
        Error::MemoryFull { .. }
        | Error::StatementMemory { .. }
        | Error::JoinMemory { .. }
        | Error::FunctionTooLarge { .. }
        | Error::FunctionTooSlow { .. }
        | Error::PlanTooLarge { .. }
        | Error::GroupingSets { .. }
        | Error::JoinPairs { .. }
        | Error::SubqueriesTooDeep { .. }
        | Error::PlanningTooLong { .. } => ErrorCode::ResourceExhausted,
        Error::Syntax { .. }
        | Error::StatementCount { .. }
        | Error::StatementTooLarge { .. }
        | Error::StatementTooDeep { .. }
        | Error::JoinByName
        | Error::ReadOnly { .. } => ErrorCode::InvalidArgument,
        Error::Lake(failure) => of_lake(failure),
        Error::ReadFile { .. }
        | Error::NoHeader { .. }
        | Error::Header { .. }
        | Error::Threads(_)
        | Error::SpillDirectory { .. } => ErrorCode::Internal,
    }
}

fn of_lake(failure: &lake::Error) -> ErrorCode {
    use lake::Error as E;
    match failure {
        E::TableName(_)
        | E::NoSuchTable { .. }
        | E::NoSuchVersion { .. }
        | E::DirectoryName { .. }
        | E::UnsupportedTable { .. } => ErrorCode::InvalidArgument,
        E::UnreadableTable { .. } | E::UnusableFile { .. } => ErrorCode::FailedPrecondition,
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
        | E::TooManyConflicts { .. } => ErrorCode::Internal,
    }
}

fn of_plan(failure: &DataFusionError) -> ErrorCode {
    match failure.find_root() {
        DataFusionError::ResourcesExhausted(_) => ErrorCode::ResourceExhausted,
        DataFusionError::External(source) => {
            if let Some(failure) = source.downcast_ref::<Error>() {
                of_engine(failure)
            } else if let Some(failure) = source.downcast_ref::<lake::Error>() {
                of_lake(failure)
            } else if source.is::<MemoryExceeded>() {
                ErrorCode::ResourceExhausted
            } else {
                ErrorCode::Internal
            }
        }
        // Values that an expression does not accept: a division by zero, a text that is no number.
        DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::SQL(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => ErrorCode::InvalidArgument,
        DataFusionError::ArrowError(source, _) => match source.as_ref() {
            ArrowError::CastError(_)
            | ArrowError::ParseError(_)
            | ArrowError::ComputeError(_)
            | ArrowError::DivideByZero
            | ArrowError::ArithmeticOverflow(_)
            | ArrowError::InvalidArgumentError(_)
            | ArrowError::NotYetImplemented(_) => ErrorCode::InvalidArgument,
            _ => ErrorCode::Internal,
        },
        _ => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_separates_client_errors_from_server_errors() {
        let check = |failure: Error, code: ErrorCode, says: &str| {
            let failure = crate::Error::from(failure);
            assert_eq!(failure.code(), code, "{failure:?}");
            assert!(failure.message().contains(says), "{}", failure.message());
        };
        let exhausted = DataFusionError::ResourcesExhausted("too much".to_owned());
        let exhausted = exhausted.context("sort");
        check(
            Error::execute(exhausted),
            ErrorCode::ResourceExhausted,
            "too much",
        );
        let divided = DataFusionError::from(ArrowError::DivideByZero);
        check(Error::execute(divided), ErrorCode::InvalidArgument, "zero");
        let unknown = DataFusionError::Plan("no table \"x\"".to_owned());
        check(
            Error::plan(unknown),
            ErrorCode::InvalidArgument,
            "no table \"x\"",
        );
        let ours = DataFusionError::Internal("a bug".to_owned());
        check(Error::plan(ours), ErrorCode::Internal, "a bug");
        let refused = Error::ReadOnly {
            statement: "INSERT".to_owned(),
        };
        check(refused, ErrorCode::InvalidArgument, "INSERT");
    }
}
