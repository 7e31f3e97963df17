//! What can fail in a service of the legacy pipeline: each variant is an attempt, its object and
//! its cause.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lake::Failure;
use rdkafka::error::KafkaError;
use service::retry::Retryable;

use crate::openweather;

/// An attempt of a service that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Connections(#[from] connections::Error),
    #[error(transparent)]
    Ingest(#[from] ingest::Error),
    #[error(transparent)]
    Lake(#[from] lake::Error),
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
    /// Whether the same attempt may succeed later: a server or the storage is unavailable.
    fn is_transient(&self) -> bool {
        match self {
            Self::Connections(error) => error.is_transient(),
            Self::Ingest(error) => error.is_transient(),
            Self::Lake(_) => Failure::find(self).is_some_and(Failure::is_transient),
            // The producer repeats calls and sends itself; what it returns is final.
            Self::OpenWeather(_)
            | Self::Cities { .. }
            | Self::Spool { .. }
            | Self::SpoolTaken { .. }
            | Self::CreateTopic { .. }
            | Self::NotDelivered { .. }
            | Self::Unwritten { .. }
            | Self::Refused { .. }
            | Self::Unanswered { .. }
            | Self::Send { .. } => false,
            // The database has what this process must not change.
            Self::OtherMessage { .. } | Self::ExportZone { .. } => false,
            // A task panicked.
            Self::Task(_) => false,
        }
    }

    /// Whether brokers answer and refuse the login or the protocol.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Connections(error) if error.is_refusal())
    }
}
