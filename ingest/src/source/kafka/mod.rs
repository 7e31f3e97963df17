//! A Kafka topic: its partitions, its records, and how far each partition goes.
//!
//! Partitions are assigned by us and not by a consumer group: a table has one landing, and where it goes on
//! is known from the table. What is committed under `group_id` is for display.

mod again;
mod beginning;
mod client;
mod context;
mod probe;
mod reader;
mod topic_id;
mod trouble;
mod watermark;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::fail;
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::debug;
use uuid::Uuid;

pub(crate) use self::again::read_again;
pub(crate) use self::beginning::{pending, start, start_for_all, why_gone};
pub use self::client::KafkaOptions;
pub(crate) use self::client::{ASK_LIMIT, metadata};
use self::context::Consumer;
pub(crate) use self::context::Context;
pub use self::probe::Probe;
pub(crate) use self::reader::{Reading, read};
pub use self::trouble::Words;
use super::Positions;
use crate::error::Error;

/// How long what the library tells is listened to. A poll that does not wait ends with the first line of its log.
const LISTEN: Duration = Duration::from_millis(20);

/// The offsets that a topic partition holds: from `low` to before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// A connection to one topic. Clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    options: Arc<KafkaOptions>,
    consumer: Arc<Consumer>,
    /// Which topic of that name it was when the connection was made; nil when the brokers do not say.
    id: Uuid,
}

impl Connection {
    /// Connects as `client_id`, and asks for the topic.
    ///
    /// # Errors
    /// When no broker answers or lets us in, or there is no such topic.
    pub(crate) async fn open(options: KafkaOptions, client_id: &str) -> Result<Self, Error> {
        let mut connection = Self::new(options, client_id)?;
        connection.reach().await?;
        connection.id = connection.current_id().await?;
        Ok(connection)
    }

    /// Asks nothing yet.
    fn new(options: KafkaOptions, client_id: &str) -> Result<Self, Error> {
        let consumer: Consumer = reading(&options, client_id)
            .create_with_context(Context::default())
            .map_err(|source| options.unusable(source))?;
        Ok(Self {
            options: Arc::new(options),
            consumer: Arc::new(consumer),
            id: Uuid::nil(),
        })
    }

    /// The same connection for another topic, of which nothing is known.
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

    pub(crate) fn topic(&self) -> &str {
        &self.options.topic
    }

    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// Numbers of the topic's partitions.
    pub(crate) async fn partitions(&self) -> Result<Vec<i32>, Error> {
        self.ask("list the partitions of", |consumer, topic| {
            partitions_of(topic, &consumer.fetch_metadata(Some(topic), ASK_LIMIT)?)
        })
        .await
    }

    /// The same as the first question, or as long as nobody reads: what the library tells meanwhile is heard
    /// here, since nobody else polls.
    async fn reach(&self) -> Result<Vec<i32>, Error> {
        self.ask("list the partitions of", |consumer, topic| {
            let listen = || while consumer.poll(LISTEN).is_some() {};
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

    /// What every partition holds now.
    pub(crate) async fn extents(&self) -> Result<BTreeMap<i32, Extent>, Error> {
        let partitions = self.partitions().await?;
        self.ask("ask for the offsets of", move |consumer, topic| {
            let extent = |partition| {
                let (low, high) = consumer.fetch_watermarks(topic, partition, ASK_LIMIT)?;
                Ok((partition, Extent { low, high }))
            };
            partitions.into_iter().map(extent).collect()
        })
        .await
    }

    /// Where a partition ended when something of it was last read. Nobody is asked.
    pub(crate) fn known_end(&self, partition: i32) -> Option<i64> {
        watermark::known_end(&self.consumer, self.topic(), partition)
    }

    /// Which topic of this name there is now.
    async fn current_id(&self) -> Result<Uuid, Error> {
        self.ask("ask for the identity of", |consumer, topic| {
            topic_id::fetch(consumer, topic, ASK_LIMIT)
        })
        .await
    }

    /// Fails when the topic is another one than at the beginning. What cannot be asked at the moment, because no
    /// broker answers, is asked again later.
    ///
    /// # Errors
    /// [`Error::TopicRecreated`], [`Error::NoTopic`].
    pub(crate) async fn refuse_recreated(&self) -> Result<(), Error> {
        match self.current_id().await {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(Error::TopicRecreated {
                topic: self.topic().to_owned(),
            }),
            Err(error @ Error::NoTopic { .. }) => Err(error),
            Err(error) => {
                debug!(%error, "could not ask which topic it is");
                Ok(())
            }
        }
    }

    /// Tells the group how far the topic has landed. Nothing depends on it, so that a failure is only noted.
    pub(crate) fn display(&self, positions: &Positions) {
        fail::point("group.begun");
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            let added =
                list.add_partition_offset(self.topic(), *partition, Offset::Offset(*offset));
            debug_assert!(added.is_ok(), "each partition is named once");
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            debug!(%error, "could not show the landed positions in the group");
        }
    }

    /// Runs a question that blocks where blocking is fine.
    async fn ask<T: Send + 'static>(
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
            self.consumer.context().answered();
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
                // The broker of a partition is away, or does not know yet that it is the one.
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition,
            ) => {
                let trouble = self.consumer.context().trouble();
                self.options.unanswered(trouble, source)
            }
            _ => Error::Kafka {
                attempt,
                topic: self.options.topic.clone(),
                source,
            },
        }
    }
}

/// The numbers of the partitions that `topic` has by what the brokers said.
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

/// What a client that reads needs to be told.
fn reading(options: &KafkaOptions, client_id: &str) -> ClientConfig {
    let mut client = options.client(client_id);
    client
        .set("group.id", &options.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Offsets that are gone are an error to name, never a place to go on from silently.
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        // What librdkafka reads ahead; the rest of our memory is bounded by blocks and buffers.
        .set("queued.max.messages.kbytes", "32768")
        // With so little it would often be full, and wait for a second before it reads on.
        .set("fetch.queue.backoff.ms", "10")
        // A broker answers the requests of a connection in their order: so long a question waits behind one for records
        // where there are none.
        .set("fetch.wait.max.ms", "100");
    client
}
