//! What can fail for a statement of a client: each variant is an attempt, its object and its cause.

use std::error::Error as StdError;
use std::time::Duration;

use arrow::error::ArrowError;
use lake::Failure;
use tracing::error;

use crate::code::{self, ErrorCode};

/// A statement that failed, or a request for one that is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("{limit} statements run already (serve.queries_max); try again when one has ended")]
    StatementsRunning { limit: usize },
    #[error(
        "{limit} statements that read or join many rows run already, and the rest of the limit is reserved for small ones (serve.queries_max); try again when one has ended"
    )]
    LargeStatementsRunning { limit: usize },
    #[error(
        "{limit} statements are being planned (serve.queries_max); try again when one has ended"
    )]
    StatementsPlanned { limit: usize },
    #[error(
        "the statement did not end within {limit:?} (serve.query_timeout), its planning included"
    )]
    TimedOut { limit: Duration },
    #[error("the statement was cancelled")]
    Cancelled,
    #[error("the client disconnected")]
    ClientDisconnected,
    #[error("there is no such prepared statement (any more): prepare it again")]
    NoSuchPreparedStatement,
    #[error(
        "no value was bound to parameter {names}; prepare the statement and bind one row of values"
    )]
    UnboundParameters { names: String },
    #[error(
        "the statement has {expected} parameters and takes one row of them; {rows} rows of {values} values were bound"
    )]
    ValueCount {
        expected: usize,
        rows: usize,
        values: usize,
    },
    #[error("no value was bound to parameter \"{name}\"")]
    UnboundParameter { name: String },
    #[error("the value of parameter \"{name}\" cannot be read: {reason}")]
    UnreadableValue { name: String, reason: String },
    #[error("a table changed its columns since the statement was described; describe it again")]
    ColumnsChanged,
    /// Rows have other columns than were described, which is a bug of the planner.
    #[error("Arrow error: {0}")]
    ConvertRows(ArrowError),
    /// The protocol could not encode rows.
    #[error(transparent)]
    Encode(Box<dyn StdError + Send + Sync>),
    /// A task of the statement returned no result: it panicked, or the process ends.
    #[error("the statement ended unexpectedly")]
    EndedUnexpectedly,
}

impl Error {
    /// What kind of failure it is, on which clients decide what to do.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Engine(failure) => code::of_engine(failure),
            Self::StatementsRunning { .. }
            | Self::LargeStatementsRunning { .. }
            | Self::StatementsPlanned { .. } => ErrorCode::ResourceExhausted,
            Self::TimedOut { .. } => ErrorCode::DeadlineExceeded,
            Self::Cancelled | Self::ClientDisconnected => ErrorCode::Cancelled,
            Self::NoSuchPreparedStatement => ErrorCode::NotFound,
            Self::UnboundParameters { .. }
            | Self::ValueCount { .. }
            | Self::UnboundParameter { .. }
            | Self::UnreadableValue { .. } => ErrorCode::InvalidArgument,
            Self::ColumnsChanged => ErrorCode::Aborted,
            Self::ConvertRows(_) | Self::Encode(_) | Self::EndedUnexpectedly => ErrorCode::Internal,
        }
    }

    /// The error and its causes on one line. A storage failure comes first, because it names the
    /// server and the remedy.
    pub fn message(&self) -> String {
        Failure::chain(self)
    }

    /// Logs an error that is a bug. The caller is in the span of the statement.
    pub(crate) fn log_if_internal(&self) {
        // The panic behind an unexpected end is printed where it happens.
        if self.code() == ErrorCode::Internal && !matches!(self, Self::EndedUnexpectedly) {
            error!("{}", self.message());
        }
    }
}
