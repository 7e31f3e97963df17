//! What can fail in ingest: each variant is an attempt, its object and its cause.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use datafusion::error::DataFusionError;
use lake::{Failure, TableName};
use rdkafka::error::KafkaError;
use service::retry::Retryable;

use crate::message::ShapeError;
use crate::openweather;

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
    #[error(transparent)]
    OpenWeather(#[from] openweather::Error),
    #[error("could not poll {failed} of {cities} cities")]
    Cities {
        failed: usize,
        cities: usize,
        #[source]
        source: openweather::Error,
    },
    #[error(
        "could not use the spool at {}; set produce.spool_path to a directory that this user may write to", path.display()
    )]
    Spool {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "another `isobar produce` uses the spool at {}; run one, or set produce.spool_path", path.display()
    )]
    SpoolTaken { path: PathBuf },
    #[error(
        "could not create topic \"{topic}\" in Kafka at {servers}; check produce.topic_partitions, produce.topic_replication and the user's rights, or create it by hand"
    )]
    CreateTopic {
        topic: String,
        servers: String,
        #[source]
        source: KafkaError,
    },
    #[error(
        "messages that did not reach Kafka: {waiting}; they are kept in the spool at {}, and sent by the next `isobar produce`", spool.display()
    )]
    NotDelivered {
        waiting: usize,
        spool: PathBuf,
        #[source]
        source: Option<Box<Error>>,
    },
    #[error(
        "messages that did not reach Kafka and could not be kept in the spool at {}, which are lost: {lost}; check that directory, then produce.spool_path", path.display()
    )]
    Unwritten { lost: usize, path: PathBuf },
    #[error("Kafka refused messages for good, which are lost: {refused}; the log says why")]
    Refused { refused: u64 },
    #[error("Kafka did not confirm a message within {limit:?}")]
    Unanswered { limit: Duration },
    #[error("could not send a message to topic \"{topic}\"")]
    Send {
        topic: String,
        #[source]
        source: KafkaError,
    },
    #[error(
        "table \"weather\" has another message under offset {offset} of topic \"{topic}\", partition {partition}: its rows belong to a deleted topic of that name. Nothing of this batch was written. Use the new topic under another name"
    )]
    OtherMessage {
        topic: String,
        partition: i32,
        offset: i64,
    },
    #[error(
        "export \"{file}\" was begun with days of time zone \"{zone}\", which this isobar does not know; finish it with the isobar that began it"
    )]
    ExportZone { file: String, zone: String },
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
            // The services of the legacy pipeline decide about these themselves.
            Self::OpenWeather(_)
            | Self::Cities { .. }
            | Self::Spool { .. }
            | Self::SpoolTaken { .. }
            | Self::CreateTopic { .. }
            | Self::NotDelivered { .. }
            | Self::Unwritten { .. }
            | Self::Refused { .. }
            | Self::Unanswered { .. }
            | Self::Send { .. }
            | Self::OtherMessage { .. }
            | Self::ExportZone { .. } => false,
            // A task panicked.
            Self::Task(_) => false,
        }
    }

    /// Whether brokers answer and refuse the login or the protocol.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Connections(error) if error.is_refusal())
    }
}
