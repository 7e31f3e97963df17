//! Settings that all clients of Kafka share: addresses of the brokers, TLS and login.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::metadata::Metadata;
use settings::{KafkaSecurity, KafkaTls, KafkaUser};

use super::context::Context;
use crate::error::Error;

/// Time limit of one request to the brokers.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for the other brokers once one has refused the connection.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(3);
/// Value with which librdkafka searches the certificates of the system, since OpenSSL is linked
/// statically.
const SYSTEM_CERTIFICATES: &str = "probe";

/// A topic, and how to connect to its brokers.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Brokers to begin with, `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// Consumer group under which landed positions are committed, for monitoring.
    pub group_id: String,
    /// Name of the topic.
    pub topic: String,
    /// TLS and login.
    pub security: KafkaSecurity,
}

impl KafkaOptions {
    /// The bootstrap servers, comma-separated.
    pub fn servers(&self) -> String {
        self.bootstrap_servers.join(",")
    }

    /// Settings of every client.
    pub fn client(&self, client_id: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            // The level at which librdkafka logs connections that brokers close.
            .set_log_level(RDKafkaLogLevel::Info)
            .set("bootstrap.servers", self.servers())
            .set("client.id", client_id)
            .set("reconnect.backoff.max.ms", "2000")
            .set("security.protocol", self.security.protocol());
        if let Some(tls) = &self.security.tls {
            configure_tls(&mut client, tls);
        }
        if let Some(user) = &self.security.user {
            configure_sasl(&mut client, user);
        }
        client
    }

    /// The error for a request without response of a client that was made with `context`: the
    /// refusal, if a broker has refused.
    pub fn no_response_error(&self, context: &Context, source: KafkaError) -> Error {
        context
            .refusal(self)
            .unwrap_or_else(|| Error::KafkaConnect {
                servers: self.servers(),
                source,
            })
    }

    /// The error when librdkafka cannot make a client, for which it reads the files of TLS.
    pub fn client_error(&self, source: KafkaError) -> Error {
        match &self.security.tls {
            Some(_) => Error::KafkaTlsFiles { source },
            None => Error::KafkaClient { source },
        }
    }
}

fn configure_tls(client: &mut ClientConfig, tls: &KafkaTls) {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let roots = tls.root_certificate.as_deref();
    client
        .set(
            "ssl.ca.location",
            roots.map_or(SYSTEM_CERTIFICATES.into(), path),
        )
        // Never off: TLS without verification protects against nothing.
        .set("enable.ssl.certificate.verification", "true")
        .set("ssl.endpoint.identification.algorithm", "https");
    if let Some(own) = &tls.client {
        client
            .set("ssl.certificate.location", path(&own.certificate))
            .set("ssl.key.location", path(&own.key));
        if let Some(password) = &own.key_password {
            client.set("ssl.key.password", password.expose());
        }
    }
}

fn configure_sasl(client: &mut ClientConfig, user: &KafkaUser) {
    client
        .set("sasl.mechanism", user.mechanism.as_str().to_uppercase())
        .set("sasl.username", &user.name)
        .set("sasl.password", user.password.expose());
}

/// Requests the metadata of a topic, or of all. It blocks, for a shorter time if `refused` returns
/// that a broker has refused the connection.
pub fn metadata<C: ClientContext>(
    client: &Client<C>,
    topic: Option<&str>,
    refused: impl FnOnce() -> bool,
) -> KafkaResult<Metadata> {
    match client.fetch_metadata(topic, REFUSED_TIMEOUT) {
        Err(_) if !refused() => client.fetch_metadata(topic, REQUEST_TIMEOUT - REFUSED_TIMEOUT),
        answered => answered,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use settings::{KafkaClient, KafkaSecurity, KafkaTls, KafkaUser, SaslMechanism, Secret};

    use super::KafkaOptions;

    /// Each line is a setting and its value; a name alone is a setting without a value.
    fn check(tls: Option<KafkaTls>, user: Option<KafkaUser>, expected: &str) {
        let options = KafkaOptions {
            bootstrap_servers: vec!["a:1".into(), "b:2".into()],
            group_id: "g".into(),
            topic: "t".into(),
            security: KafkaSecurity { tls, user },
        };
        assert!(!format!("{options:?}").contains("hunter2"));
        let client = options.client("id");
        assert_eq!(client.get("bootstrap.servers"), Some("a:1,b:2"));
        for line in expected.lines().map(str::trim) {
            let (key, value) = line.split_once(' ').unzip();
            assert_eq!(client.get(key.unwrap_or(line)), value, "{line}");
        }
    }

    fn user(mechanism: SaslMechanism) -> Option<KafkaUser> {
        Some(KafkaUser {
            mechanism,
            name: "u".into(),
            password: Secret::new("hunter2"),
        })
    }

    fn tls(root: Option<&str>, client: Option<KafkaClient>) -> Option<KafkaTls> {
        Some(KafkaTls {
            root_certificate: root.map(PathBuf::from),
            client,
        })
    }

    #[test]
    fn client_settings_follow_from_security() {
        check(
            None,
            None,
            "security.protocol plaintext\nssl.ca.location\nsasl.mechanism",
        );
        check(
            tls(None, None),
            user(SaslMechanism::ScramSha256),
            "security.protocol sasl_ssl
            ssl.ca.location probe
            sasl.mechanism SCRAM-SHA-256
            sasl.username u
            sasl.password hunter2
            enable.ssl.certificate.verification true
            ssl.endpoint.identification.algorithm https",
        );
        let own = KafkaClient {
            certificate: "/c".into(),
            key: "/k".into(),
            key_password: Some(Secret::new("hunter2")),
        };
        check(
            tls(Some("/ca"), Some(own)),
            None,
            "security.protocol ssl
            ssl.ca.location /ca
            ssl.certificate.location /c
            ssl.key.location /k
            ssl.key.password hunter2
            sasl.username
            enable.ssl.certificate.verification true
            ssl.endpoint.identification.algorithm https",
        );
        check(
            None,
            user(SaslMechanism::Plain),
            "security.protocol sasl_plaintext\nsasl.mechanism PLAIN\nssl.ca.location",
        );
    }
}
