//! How clients and brokers of Kafka authenticate each other.

use std::path::PathBuf;

use crate::Secret;

/// How a client and the brokers authenticate each other, and whether the connection is encrypted.
#[derive(Debug, Clone, Default)]
pub struct KafkaSecurity {
    /// Without it the connection is not encrypted.
    pub tls: Option<KafkaTls>,
    /// The SASL user of the client. Without it brokers see an anonymous client, or that of its
    /// certificate.
    pub user: Option<KafkaUser>,
}

/// TLS with the brokers.
#[derive(Debug, Clone)]
pub struct KafkaTls {
    /// Absolute path of the authorities that a broker's certificate must come from. Without it,
    /// those of the system.
    pub root_certificate: Option<PathBuf>,
    /// For brokers that ask for a certificate of the client.
    pub client: Option<KafkaClient>,
}

/// The certificate of a client.
#[derive(Debug, Clone)]
pub struct KafkaClient {
    /// Absolute path of a PEM file.
    pub certificate: PathBuf,
    /// Absolute path of a PEM file.
    pub key: PathBuf,
    /// Of an encrypted key.
    pub key_password: Option<Secret>,
}

/// A user of SASL.
#[derive(Debug, Clone)]
pub struct KafkaUser {
    pub mechanism: SaslMechanism,
    pub name: String,
    pub password: Secret,
}

/// The SASL mechanism that authenticates a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl SaslMechanism {
    pub const NAMES: &'static [&'static str] = &["plain", "scram-sha-256", "scram-sha-512"];

    /// As the configuration writes it. Kafka writes it in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::ScramSha256 => "scram-sha-256",
            Self::ScramSha512 => "scram-sha-512",
        }
    }
}

impl KafkaSecurity {
    /// As the configuration and Kafka name it.
    pub fn protocol(&self) -> &'static str {
        match (&self.tls, &self.user) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        }
    }
}

/// Whether connections are encrypted, and whether clients authenticate by SASL, in the words of
/// Kafka's own clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    pub const NAMES: &'static [&'static str] = &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];

    /// Whether connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether clients authenticate by SASL.
    pub fn has_user(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}
