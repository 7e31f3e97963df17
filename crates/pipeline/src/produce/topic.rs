//! The topic that the producer sends to: its brokers, and its creation.

use std::time::Duration;

use connections::kafka::{Context, KafkaOptions, REQUEST_TIMEOUT, metadata};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, Producer as _};
use tracing::info;

use crate::error::Error;

/// The value that makes brokers use their own default.
const BROKERS_DEFAULT: i32 = -1;

/// The topic, and its settings.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Brokers and name.
    pub kafka: KafkaOptions,
    /// Number of partitions of a topic that is created; none for the default of the brokers.
    pub partitions: Option<i32>,
    /// Replication factor of a topic that is created; none for the default of the brokers.
    pub replication: Option<i32>,
    /// Retention of a topic that is created; none for the default of the brokers.
    pub retention: Option<Duration>,
    /// The name that Kafka uses.
    pub compression: &'static str,
}

impl Topic {
    pub(super) fn client(&self) -> ClientConfig {
        self.kafka.client("isobar-produce")
    }

    /// Creates the topic unless it exists. `producer` must have been made with `context`.
    ///
    /// # Errors
    /// When no broker answers, the brokers refuse the login, or they refuse to create the topic.
    pub(super) async fn ensure(
        &self,
        producer: &FutureProducer<Context>,
        context: &Context,
    ) -> Result<(), Error> {
        let (name, client) = (self.kafka.topic.clone(), producer.clone());
        let handle = context.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // All topics are requested: a request for one topic makes some brokers create it with
            // their defaults.
            let all = metadata(client.client(), None, || handle.is_refused())?;
            Ok(all.topics().iter().any(|topic| topic.name() == name))
        });
        let is_there = asked.await.map_err(Error::Task)?;
        let is_there = is_there.map_err(|source| self.unreachable(context, source))?;
        context.clear_failure();
        if is_there {
            return Ok(());
        }
        self.create(context).await
    }

    async fn create(&self, context: &Context) -> Result<(), Error> {
        let admin: AdminClient<Context> = self
            .client()
            .create_with_context(context.clone())
            .map_err(|source| self.kafka.client_error(source))?;
        let topic = self.kafka.topic.as_str();
        let retention_ms = self
            .retention
            .map(|retention| retention.as_millis().to_string());
        let mut new = NewTopic::new(
            topic,
            self.partitions.unwrap_or(BROKERS_DEFAULT),
            TopicReplication::Fixed(self.replication.unwrap_or(BROKERS_DEFAULT)),
        );
        if let Some(retention_ms) = &retention_ms {
            new = new.set("retention.ms", retention_ms);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .operation_timeout(Some(REQUEST_TIMEOUT));
        let results = admin.create_topics([&new], &options).await;
        let results = results.map_err(|source| self.unreachable(context, source))?;
        match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(()),
            Some(Ok(_)) => {
                info!(topic, "created the topic");
                Ok(())
            }
            Some(Err((_, code))) if is_refusal(code) => Err(Error::CreateTopic {
                topic: topic.to_owned(),
                servers: self.kafka.servers(),
                source: KafkaError::AdminOp(code),
            }),
            Some(Err((_, code))) => Err(connections::Error::Kafka {
                attempt: "create",
                topic: topic.to_owned(),
                source: KafkaError::AdminOp(code),
            }
            .into()),
        }
    }

    fn unreachable(&self, context: &Context, source: KafkaError) -> Error {
        self.kafka.no_response_error(context, source).into()
    }
}

/// Whether the refusal is permanent.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}
