//! What can fail in ingest: each variant is an attempt, its object and its cause.

use std::path::PathBuf;

use datafusion::error::DataFusionError;
use lake::{Failure, TableName};
use service::retry::Retryable;

use crate::message::ShapeError;

/// An attempt of ingest that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Connections(#[from] connections::Error),
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Lake(#[from] lake::Error),
    #[error("the message type declared in \"{}\" is wrong", path.display())]
    MessageType {
        path: PathBuf,
        #[source]
        source: ShapeError,
    },
    #[error("{}: {message}", path.display())]
    Declaration { path: PathBuf, message: String },
    #[error("{}: the SELECT cannot be planned", path.display())]
    Select {
        path: PathBuf,
        #[source]
        source: DataFusionError,
    },
    #[error("{}: rule \"{reason}\" cannot be planned", path.display())]
    Rule {
        path: PathBuf,
        reason: String,
        #[source]
        source: DataFusionError,
    },
    #[error("could not compute the rows of table \"{table}\"")]
    Rows {
        table: TableName,
        #[source]
        source: DataFusionError,
    },
    #[error(
        "no table is declared for topic \"{topic}\"; add a file to {} with `--! topic = \"{topic}\"`, or check kafka.topic (TOPIC_NAME)",
        tables.display()
    )]
    NoTables { topic: String, tables: PathBuf },
    #[error(
        "there are no export files at {path}; name a file, or a directory with *.json files in it or in its dt= directories"
    )]
    NoFiles { path: String },
    #[error(
        "there is nothing at {path}; name an export file, or a directory with *.json files in it or in its dt= directories"
    )]
    NothingThere { path: String },
    #[error(
        "another landing committed to table \"{table}\" (version {version}) while this one ran; nothing of this batch is in the table. Run one landing at a time; start this one again, and what is landed is skipped"
    )]
    Fenced { table: TableName, version: u64 },
    #[error(
        "\"{text}\" is not a dead letter; name one as `isobar dead-letters list` does: topic/partition/offset, or path:line"
    )]
    DeadLetterAddress { text: String },
    #[error("others kept committing to table \"{table}\"; gave up after {tries} tries")]
    TooManyConflicts { table: TableName, tries: usize },
    #[error("{stopped} of {topics} topics did not land completely; the log has the reason of each")]
    Topics {
        stopped: usize,
        topics: usize,
        #[source]
        source: Box<Error>,
    },
    #[error("could not read {path}")]
    ReadSource {
        path: String,
        #[source]
        source: object_store::Error,
    },
    #[error("could not encode rows of table \"{table}\"")]
    Encode {
        table: TableName,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("a task of the service ended early")]
    Task(#[source] tokio::task::JoinError),
}

impl Retryable for Error {
    /// Whether the same attempt may succeed later: a server is unavailable, or another writer was
    /// first.
    fn is_transient(&self) -> bool {
        match self {
            Self::Connections(error) => error.is_transient(),
            Self::Fenced { .. } | Self::TooManyConflicts { .. } => true,
            // The storage may be the cause.
            Self::Engine(_)
            | Self::Lake(_)
            | Self::Select { .. }
            | Self::Rule { .. }
            | Self::Rows { .. }
            | Self::Topics { .. }
            | Self::ReadSource { .. }
            | Self::Encode { .. } => Failure::find(self).is_some_and(Failure::is_transient),
            // Mistakes in the arguments, the table files or the configuration.
            Self::MessageType { .. }
            | Self::Declaration { .. }
            | Self::NoTables { .. }
            | Self::NoFiles { .. }
            | Self::NothingThere { .. }
            | Self::DeadLetterAddress { .. } => false,
            // A task panicked.
            Self::Task(_) => false,
        }
    }

    /// Whether brokers answer and refuse the login or the protocol.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Connections(error) if error.is_refusal())
    }
}
