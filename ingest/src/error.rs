//! What can fail in ingest: each variant is an attempt, its object and its cause.

use std::path::PathBuf;

use datafusion::error::DataFusionError;
use engine::lake::TableName;

use crate::message::ShapeError;

/// An attempt of ingest that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("the message type declared in \"{}\" is wrong", path.display())]
    MessageType {
        path: PathBuf,
        #[source]
        source: ShapeError,
    },
    #[error("{}: {message}", path.display())]
    Declaration { path: PathBuf, message: String },
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
    #[error("there is nothing at {path}")]
    NothingThere { path: String },
    #[error(
        "another landing committed to table \"{table}\" (version {version}) while this one ran; nothing of this batch is in the table. Run one landing at a time; start this one again, and what is landed is skipped"
    )]
    Superseded { table: TableName, version: u64 },
    #[error("others kept committing to table \"{table}\"; gave up after {tries} tries")]
    Contended { table: TableName, tries: usize },
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
    #[error("a task of the landing ended early")]
    Task(#[source] tokio::task::JoinError),
}
