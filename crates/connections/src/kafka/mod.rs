//! A Kafka topic: its partitions, its records, and how far each partition goes.
//!
//! The reader assigns partitions itself and joins no consumer group: each table has one landing,
//! and the table holds its position. Offsets committed under `group_id` are for monitoring only.

mod client;
mod connection_failure;
mod context;
mod probe;
mod reader;
mod reread;
mod start_offsets;
mod topic_id;
mod watermark;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use service::fail;
use tracing::debug;
use uuid::Uuid;

pub use self::client::{KafkaOptions, REQUEST_TIMEOUT, metadata};
use self::context::Consumer;
pub use self::context::Context;
pub use self::probe::Probe;
pub use self::reader::{Reading, read};
pub use self::reread::reread;
pub use self::start_offsets::{
    explain_out_of_range, pending, start_offsets, start_offsets_of_tables,
};
use crate::error::Error;
use crate::records::Positions;

/// Length of a poll that drains events of librdkafka. A poll without a wait returns after the first
/// log line.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// The offsets that a topic partition holds: `low` and above, below `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that exists.
    pub low: i64,
    /// The offset after the last one.
    pub high: i64,
}

/// A connection to one topic. Clones share it.
#[derive(Clone)]
pub struct Connection {
    options: Arc<KafkaOptions>,
    consumer: Arc<Consumer>,
    /// Id of the topic when the connection was opened; nil if the brokers do not support ids.
    id: Uuid,
}

impl Connection {
    /// Connects as `client_id`, and asks for the topic.
    ///
    /// # Errors
    /// When no broker answers, the brokers refuse the login, or the topic does not exist.
    pub async fn open(options: KafkaOptions, client_id: &str) -> Result<Self, Error> {
        let mut connection = Self::new(options, client_id)?;
        connection.partitions_polling().await?;
        connection.id = connection.current_id().await?;
        Ok(connection)
    }

    /// Makes a client, without a request.
    fn new(options: KafkaOptions, client_id: &str) -> Result<Self, Error> {
        let consumer: Consumer = consumer_config(&options, client_id)
            .create_with_context(Context::default())
            .map_err(|source| options.client_error(source))?;
        Ok(Self {
            options: Arc::new(options),
            consumer: Arc::new(consumer),
            id: Uuid::nil(),
        })
    }

    /// The same connection for another topic, whose id is not known.
    fn of(&self, topic: &str) -> Self {
        let options = KafkaOptions {
            topic: topic.to_owned(),
            ..self.options.as_ref().clone()
        };
        Self {
            options: Arc::new(options),
            consumer: Arc::clone(&self.consumer),
            id: Uuid::nil(),
        }
    }

    /// Name of the topic.
    pub fn topic(&self) -> &str {
        &self.options.topic
    }

    /// Id of the topic when the connection was opened; nil if the brokers do not support ids.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Numbers of the topic's partitions.
    ///
    /// # Errors
    /// When no broker answers, or the topic does not exist.
    pub async fn partitions(&self) -> Result<Vec<i32>, Error> {
        self.request("list the partitions of", |consumer, topic| {
            partitions_of(
                topic,
                &consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT)?,
            )
        })
        .await
    }

    /// The same as the first request of a connection, and while no reader polls it: it also drains
    /// the events of librdkafka, which say why brokers refuse.
    async fn partitions_polling(&self) -> Result<Vec<i32>, Error> {
        self.request("list the partitions of", |consumer, topic| {
            let listen = || while consumer.poll(DRAIN_POLL).is_some() {};
            let refused = || {
                listen();
                consumer.context().is_refused()
            };
            let found = metadata(consumer.client(), Some(topic), refused);
            listen();
            partitions_of(topic, &found?)
        })
        .await
    }

    /// The watermarks of every partition.
    ///
    /// # Errors
    /// When no broker answers, or the topic does not exist.
    pub async fn watermarks(&self) -> Result<BTreeMap<i32, Watermarks>, Error> {
        let partitions = self.partitions().await?;
        self.request("read the offsets of", move |consumer, topic| {
            let watermarks_of = |partition| {
                let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
                Ok((partition, Watermarks { low, high }))
            };
            partitions.into_iter().map(watermarks_of).collect()
        })
        .await
    }

    /// End of a partition when a record of it was last read. Sends no request.
    pub fn known_end(&self, partition: i32) -> Option<i64> {
        watermark::known_end(&self.consumer, self.topic(), partition)
    }

    /// The present id of the topic.
    async fn current_id(&self) -> Result<Uuid, Error> {
        self.request("read the id of", |consumer, topic| {
            topic_id::fetch(consumer, topic, REQUEST_TIMEOUT)
        })
        .await
    }

    /// Fails when the topic was deleted or recreated since the connection was opened. Succeeds when
    /// no broker answers: the caller asks again later.
    ///
    /// # Errors
    /// [`Error::TopicRecreated`], [`Error::NoTopic`].
    pub async fn check_not_recreated(&self) -> Result<(), Error> {
        match self.current_id().await {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(Error::TopicRecreated {
                topic: self.topic().to_owned(),
            }),
            Err(error @ Error::NoTopic { .. }) => Err(error),
            Err(error) => {
                debug!(%error, "could not read the topic id");
                Ok(())
            }
        }
    }

    /// Commits the landed positions under the consumer group, for monitoring. Nothing depends on
    /// it, so a failure is only logged.
    pub fn commit_group_offsets(&self, positions: &Positions) {
        fail::point("group.begun");
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            let added =
                list.add_partition_offset(self.topic(), *partition, Offset::Offset(*offset));
            debug_assert!(added.is_ok(), "each partition is named once");
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            debug!(%error, "could not commit the landed positions to the group");
        }
    }

    /// Runs a blocking request on a thread that may block.
    async fn request<T: Send + 'static>(
        &self,
        attempt: &'static str,
        question: impl FnOnce(&Consumer, &str) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            question(&connection.consumer, &connection.options.topic)
        });
        let answer = answer.await.map_err(Error::Task)?;
        if answer.is_ok() {
            self.consumer.context().clear_failure();
        }
        answer.map_err(|source| self.failed(attempt, source))
    }

    fn failed(&self, attempt: &'static str, source: KafkaError) -> Error {
        match source.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Error::NoTopic {
                    topic: self.options.topic.clone(),
                    servers: self.options.servers(),
                }
            }
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
                // The leader of a partition is unavailable, or not yet elected.
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition,
            ) => {
                let context = self.consumer.context();
                self.options.no_response_error(context, source)
            }
            _ => Error::Kafka {
                attempt,
                topic: self.options.topic.clone(),
                source,
            },
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.options).finish()
    }
}

/// The numbers of the partitions of `topic` in the metadata.
fn partitions_of(topic: &str, metadata: &Metadata) -> Result<Vec<i32>, KafkaError> {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    if let Some(error) = found.and_then(|found| found.error()) {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let partitions = found
        .into_iter()
        .flat_map(|found| found.partitions())
        .map(|partition| partition.id());
    Ok(partitions.collect())
}

/// Settings of a client that reads.
fn consumer_config(options: &KafkaOptions, client_id: &str) -> ClientConfig {
    let mut client = options.client(client_id);
    client
        .set("group.id", &options.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Deleted offsets are an error; the reader must never skip them silently.
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        // Prefetch of librdkafka; permits and the memory budget bound the rest.
        .set("queued.max.messages.kbytes", "32768")
        // The small queue is often full, and librdkafka would wait a second before it fetches on.
        .set("fetch.queue.backoff.ms", "10")
        // A broker answers the requests of a connection in order, so this is how long another
        // request waits behind a fetch of an idle partition.
        .set("fetch.wait.max.ms", "100");
    client
}
