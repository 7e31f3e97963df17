//! The topic that is produced to: how its brokers are reached, and that it is there.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, info};

use crate::error::Error;
use crate::source::kafka::KafkaOptions;

/// Limit of one question to the brokers.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// What brokers read as "your own default".
const BROKERS_DEFAULT: i32 = -1;

/// The topic, what it is created with if it is absent, and how messages travel to it.
#[derive(Debug, Clone)]
pub struct Topic {
    pub kafka: KafkaOptions,
    /// Of a topic that is created, these three; where none, the brokers' default.
    pub partitions: Option<i32>,
    pub replication: Option<i32>,
    pub retention: Option<Duration>,
    /// As Kafka names it.
    pub compression: &'static str,
}

impl Topic {
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.kafka.bootstrap_servers.join(","))
            .set("client.id", "isobar-produce")
            .set("reconnect.backoff.max.ms", "2000");
        client
    }

    /// Creates the topic unless it is there.
    ///
    /// # Errors
    /// When no broker answers, or they refuse to create it.
    pub(super) async fn ensure(&self) -> Result<(), Error> {
        let admin: AdminClient<Quiet> = self
            .client()
            .create_with_context(Quiet)
            .map_err(|source| self.unreachable(source))?;
        let name = self.kafka.topic.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // Asking for one topic by name makes some brokers create it, by their own defaults.
            let metadata = admin.inner().fetch_metadata(None, ASK_LIMIT);
            let is_there =
                metadata.map(|all| all.topics().iter().any(|topic| topic.name() == name));
            (admin, is_there)
        });
        let (admin, is_there) = asked.await.map_err(Error::Task)?;
        if is_there.map_err(|source| self.unreachable(source))? {
            return Ok(());
        }
        self.create(&admin).await
    }

    async fn create(&self, admin: &AdminClient<Quiet>) -> Result<(), Error> {
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
            .request_timeout(Some(ASK_LIMIT))
            .operation_timeout(Some(ASK_LIMIT));
        let results = admin.create_topics([&new], &options).await;
        let results = results.map_err(|source| self.unreachable(source))?;
        match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(()),
            Some(Ok(_)) => {
                info!(topic, "created the topic");
                Ok(())
            }
            Some(Err((_, code))) if is_refusal(code) => Err(Error::CreateTopic {
                topic: topic.to_owned(),
                servers: self.kafka.bootstrap_servers.join(","),
                source: KafkaError::AdminOp(code),
            }),
            Some(Err((_, code))) => Err(Error::Kafka {
                attempt: "create",
                topic: topic.to_owned(),
                source: KafkaError::AdminOp(code),
            }),
        }
    }

    pub(super) fn unreachable(&self, source: KafkaError) -> Error {
        Error::KafkaConnect {
            servers: self.kafka.bootstrap_servers.join(","),
            source,
        }
    }
}

/// Whether the brokers will say the same the next time.
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

/// What librdkafka says of its connections is for those who look closely: we say ourselves when Kafka is away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "librdkafka");
    }
}
