//! What can fail on connections to Kafka and PostgreSQL: each variant is an attempt, its object and
//! its cause.

use std::time::Duration;

use rdkafka::error::KafkaError;
use service::retry::Retryable;

use crate::postgres_error;

/// The text of librdkafka, without advice about its own settings, which users cannot set.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LibrdkafkaMessage(pub(crate) String);

/// An attempt on a connection that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no Kafka broker answers at {servers}; check kafka.bootstrap_servers (BOOTSTRAP_SERVERS)"
    )]
    KafkaConnect {
        servers: String,
        #[source]
        source: KafkaError,
    },
    #[error(
        "Kafka at {broker} does not let user \"{user}\" in; check kafka.sasl_username and kafka.sasl_password (ISOBAR__KAFKA__SASL_PASSWORD), and whether the user has a password for kafka.sasl_mechanism = \"{mechanism}\""
    )]
    KafkaDenied {
        broker: String,
        user: String,
        mechanism: &'static str,
        #[source]
        source: LibrdkafkaMessage,
    },
    #[error(
        "Kafka at {broker} does not support kafka.sasl_mechanism = \"{mechanism}\" (ISOBAR__KAFKA__SASL_MECHANISM); set it to one that it supports"
    )]
    KafkaMechanism {
        broker: String,
        mechanism: &'static str,
        #[source]
        source: LibrdkafkaMessage,
    },
    #[error(
        "could not verify the certificate of Kafka at {broker}; it must be signed by {roots} (kafka.root_certificate, ISOBAR__KAFKA__ROOT_CERTIFICATE), be for the host that it is reached by, and not have expired"
    )]
    KafkaCertificate {
        broker: String,
        /// The certificates that may have signed it.
        roots: String,
        #[source]
        source: LibrdkafkaMessage,
    },
    #[error(
        "Kafka at {broker} does not accept {own}; check kafka.client_certificate and kafka.client_key (ISOBAR__KAFKA__CLIENT_CERTIFICATE, ISOBAR__KAFKA__CLIENT_KEY), and whether the broker trusts who signed it"
    )]
    KafkaClientCertificate {
        broker: String,
        /// The certificate that the client presents, in words.
        own: String,
        #[source]
        source: LibrdkafkaMessage,
    },
    #[error(
        "Kafka at {broker} does not speak kafka.security_protocol = \"{protocol}\" (ISOBAR__KAFKA__SECURITY_PROTOCOL); check it, and the port in kafka.bootstrap_servers (BOOTSTRAP_SERVERS)"
    )]
    KafkaProtocol {
        broker: String,
        protocol: &'static str,
        #[source]
        source: LibrdkafkaMessage,
    },
    #[error(
        "Kafka at {broker} closed the connection before it answered; unless it is starting or ending, it does not speak kafka.security_protocol = \"{protocol}\" (ISOBAR__KAFKA__SECURITY_PROTOCOL): check it, and the port in kafka.bootstrap_servers (BOOTSTRAP_SERVERS)"
    )]
    KafkaClosed {
        broker: String,
        protocol: &'static str,
        #[source]
        source: LibrdkafkaMessage,
    },
    #[error(
        "could not use the certificates for Kafka; check kafka.root_certificate, kafka.client_certificate, kafka.client_key and kafka.client_key_password (ISOBAR__KAFKA__CLIENT_KEY_PASSWORD)"
    )]
    KafkaTlsFiles {
        #[source]
        source: KafkaError,
    },
    #[error("could not make a client of Kafka")]
    KafkaClient {
        #[source]
        source: KafkaError,
    },
    #[error(
        "there is no topic \"{topic}\" in Kafka at {servers}; check kafka.topic (TOPIC_NAME), or create it: kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions 3"
    )]
    NoTopic { topic: String, servers: String },
    #[error("could not {attempt} topic \"{topic}\"")]
    Kafka {
        attempt: &'static str,
        topic: String,
        #[source]
        source: KafkaError,
    },
    #[error(
        "topic \"{topic}\" was deleted and created again: its offsets now mean other messages, and messages are identified by topic, partition and offset. Nothing was read from it. Use the new topic under another name, or move the tables of the deleted one away"
    )]
    TopicRecreated { topic: String },
    #[error(
        "topic \"{topic}\", partition {partition}: the next message to read has offset {next}, but Kafka holds none before {low}: they were deleted, by retention or manually, before they were read. If export files have them, land those (`isobar land --from files`); then continue with `--accept-loss`, which skips the deleted messages"
    )]
    OffsetsLost {
        topic: String,
        partition: i32,
        next: i64,
        low: i64,
    },
    #[error(
        "topic \"{topic}\", partition {partition}: the next message to read has offset {next}, but Kafka ends at {high}: it lost messages that were read already. Nothing was read from it"
    )]
    OffsetsBeyond {
        topic: String,
        partition: i32,
        next: i64,
        high: i64,
    },
    /// Kafka does not hold the next offset to read. `kafka::explain_out_of_range` turns it
    /// into the error that names the reason.
    #[error("offsets of topic \"{topic}\" are out of range")]
    OffsetsOutOfRange { topic: String },
    #[error(
        "no PostgreSQL answers at {server}; check postgres.host (POSTGRES_HOST) and postgres.port (POSTGRES_PORT)"
    )]
    PostgresConnect {
        server: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error(
        "PostgreSQL at {server} does not let user \"{user}\" into database \"{database}\"; check postgres.user (POSTGRES_USER), postgres.password (POSTGRES_PASSWORD) and postgres.database (POSTGRES_DB)"
    )]
    PostgresDenied {
        server: String,
        user: String,
        database: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error(
        "could not agree on TLS with PostgreSQL at {server}; check postgres.sslmode, postgres.root_certificate and the server's certificate"
    )]
    PostgresTls {
        server: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("no root certificate is known; check postgres.root_certificate")]
    RootCertificates {
        #[source]
        source: postgres_error::RootCertificateError,
    },
    #[error("could not {attempt} in PostgreSQL at {server}")]
    Postgres {
        attempt: &'static str,
        server: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("PostgreSQL at {server} did not {attempt} within {limit:?}")]
    PostgresSlow {
        attempt: &'static str,
        server: String,
        limit: Duration,
    },
    #[error(
        "the tables in PostgreSQL at {server} are of version {found}, and this isobar knows versions up to {known}; use the isobar that brought them there, or a newer one"
    )]
    SchemaNewer {
        server: String,
        found: i32,
        known: i32,
    },
    #[error(
        "table \"weather\" in PostgreSQL at {server} is in schema \"{home}\", and search_path of user \"{user}\" finds {seen}; set it so that the right schema comes first: ALTER ROLE \"{user}\" SET search_path = …"
    )]
    Elsewhere {
        server: String,
        user: String,
        home: String,
        /// The table that `search_path` finds instead, in words.
        seen: String,
    },
    #[error(
        "table \"weather\" in schema \"{schema}\" of PostgreSQL at {server} is not the table of this pipeline: it lacks {missing}; set postgres.database (POSTGRES_DB) or search_path to where the pipeline's is, or give that table another name"
    )]
    OtherTable {
        server: String,
        schema: String,
        missing: String,
    },
    #[error(
        "another `isobar {service}` of topic \"{topic}\" works in PostgreSQL at {server}; run one at a time"
    )]
    Occupied {
        service: &'static str,
        topic: String,
        server: String,
    },
    #[error("a task of the service ended early")]
    Task(#[source] tokio::task::JoinError),
}

impl Retryable for Error {
    /// Whether the same attempt may succeed later: a server is unavailable, or another process has
    /// what the attempt needs.
    fn is_transient(&self) -> bool {
        match self {
            Self::KafkaConnect { .. }
            | Self::KafkaClosed { .. }
            | Self::OffsetsOutOfRange { .. }
            | Self::PostgresConnect { .. }
            | Self::PostgresSlow { .. }
            | Self::Occupied { .. } => true,
            Self::Postgres { source, .. } => postgres_error::is_transient(source),
            // Refusals, which may end once the login has succeeded: see `is_refusal`.
            Self::KafkaDenied { .. }
            | Self::KafkaMechanism { .. }
            | Self::KafkaCertificate { .. }
            | Self::KafkaClientCertificate { .. }
            | Self::KafkaProtocol { .. } => false,
            // Mistakes in the configuration.
            Self::KafkaTlsFiles { .. }
            | Self::KafkaClient { .. }
            | Self::NoTopic { .. }
            | Self::PostgresDenied { .. }
            | Self::PostgresTls { .. }
            | Self::RootCertificates { .. } => false,
            // Other messages or tables than those that were expected.
            Self::TopicRecreated { .. }
            | Self::OffsetsLost { .. }
            | Self::OffsetsBeyond { .. }
            | Self::SchemaNewer { .. }
            | Self::Elsewhere { .. }
            | Self::OtherTable { .. } => false,
            // Brokers answer, and refuse the request; or a task panicked.
            Self::Kafka { .. } | Self::Task(_) => false,
        }
    }

    /// Whether brokers answer and refuse the login or the protocol. Before the first successful
    /// login this means a wrong configuration; after it, the refusal may end, for example when a
    /// certificate has been renewed.
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::KafkaDenied { .. }
                | Self::KafkaMechanism { .. }
                | Self::KafkaCertificate { .. }
                | Self::KafkaClientCertificate { .. }
                | Self::KafkaProtocol { .. }
        )
    }
}
