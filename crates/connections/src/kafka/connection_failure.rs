//! Failures of connections to brokers, as librdkafka reports them, and which of them are refusals.
//!
//! librdkafka retries every failure, and describes it in text only. The patterns below match the
//! texts of the librdkafka that is linked into the binary; the system tests provoke all of them.

use rdkafka::error::RDKafkaErrorCode;

use super::client::KafkaOptions;
use crate::error::{Error, LibrdkafkaMessage};

/// A broker that requires SASL closes a connection without it at the first request; a broker that
/// shuts down closes it later than this.
const SOON_MS: u64 = 2_000;

/// The latest failure of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectionFailure {
    /// `host:port`, if the text names it.
    broker: Option<String>,
    /// Set if a broker refuses the connection.
    kind: Option<RefusalKind>,
    message: LibrdkafkaMessage,
}

/// Why a broker refuses the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefusalKind {
    /// User or password is wrong.
    Denied,
    /// The broker does not support the SASL mechanism.
    Mechanism,
    /// The client does not trust the certificate of the broker.
    Certificate,
    /// The broker does not trust the certificate of the client, or requires one.
    ClientCertificate,
    /// The broker expects another protocol.
    Protocol,
    /// The broker closed the connection: it expects another protocol, or it is shutting down.
    Closed,
}

impl ConnectionFailure {
    /// Parses an error event, which has a code, or a log line, which has none.
    pub(super) fn parse(code: Option<RDKafkaErrorCode>, text: &str) -> Self {
        // Log lines begin with the name of a thread.
        let (_, text) = text.rsplit_once("]: ").unwrap_or(("", text));
        Self {
            broker: broker(text),
            kind: RefusalKind::parse(code, text),
            message: LibrdkafkaMessage(without_hints(text).to_owned()),
        }
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.kind.is_some()
    }

    pub(super) fn message(&self) -> &LibrdkafkaMessage {
        &self.message
    }

    /// The error that names the refusal, if the failure is one.
    pub(super) fn refusal(self, options: &KafkaOptions) -> Option<Error> {
        let broker = self.broker.unwrap_or_else(|| options.servers());
        let (source, security) = (self.message, &options.security);
        let protocol = security.protocol();
        let user = security.user.as_ref();
        let mechanism = user.map_or("", |user| user.mechanism.as_str());
        let own = security.tls.as_ref().and_then(|tls| tls.client.as_ref());
        Some(match self.kind? {
            RefusalKind::Denied => Error::KafkaDenied {
                broker,
                user: user.map(|user| user.name.clone()).unwrap_or_default(),
                mechanism,
                source,
            },
            RefusalKind::Mechanism => Error::KafkaMechanism {
                broker,
                mechanism,
                source,
            },
            RefusalKind::Certificate => {
                let tls = security.tls.as_ref();
                let roots = tls.and_then(|tls| tls.root_certificate.as_ref());
                let roots = roots.map(|path| format!("one of {}", path.display()));
                Error::KafkaCertificate {
                    broker,
                    roots: roots.unwrap_or_else(|| "one of the system's".to_owned()),
                    source,
                }
            }
            RefusalKind::ClientCertificate => Error::KafkaClientCertificate {
                broker,
                own: own.map_or("a client without a certificate".to_owned(), |own| {
                    format!("the certificate in {}", own.certificate.display())
                }),
                source,
            },
            RefusalKind::Protocol => Error::KafkaProtocol {
                broker,
                protocol,
                source,
            },
            RefusalKind::Closed => Error::KafkaClosed {
                broker,
                protocol,
                source,
            },
        })
    }
}

impl RefusalKind {
    fn parse(code: Option<RDKafkaErrorCode>, text: &str) -> Option<Self> {
        let says = |words: &str| text.contains(words);
        if says("certificate verify failed") {
            return Some(Self::Certificate);
        }
        if says(" alert ") && (says("certificate") || says("unknown ca")) {
            return Some(Self::ClientCertificate);
        }
        if says("wrong version number") || says("not valid in current SASL state") {
            return Some(Self::Protocol);
        }
        if says("Unsupported SASL mechanism") {
            return Some(Self::Mechanism);
        }
        if closed_early(text) {
            return Some(Self::Closed);
        }
        // "Local:" is an error of the connection, which broke during the login.
        (code == Some(RDKafkaErrorCode::Authentication) && !says("Local: ")).then_some(Self::Denied)
    }
}

/// Whether the broker closed the connection before its first response.
fn closed_early(text: &str) -> bool {
    let says = |words: &str| text.contains(words);
    if !(says("Disconnected") || says("Broken pipe") || says("reset by peer")) {
        return false;
    }
    let Some((before, state)) = text.rsplit_once("ms in state ") else {
        return false;
    };
    let after = before.rsplit_once("(after ");
    let after_ms: Option<u64> = after.and_then(|(_, number)| number.parse().ok());
    state.starts_with("SSL_HANDSHAKE")
        || state.starts_with("APIVERSION_QUERY")
        || state.starts_with("UP") && after_ms.is_some_and(|ms| ms < SOON_MS)
}

/// `host:port` of `sasl_ssl://host:port/1: …`, or of `GroupCoordinator: host:port: …`.
fn broker(text: &str) -> Option<String> {
    let names = text.split(": ").take(2).map(|part| {
        let (_, part) = part.split_once("://").unwrap_or(("", part));
        part.split_once('/').map_or(part, |(name, _)| name)
    });
    let mut found = names.filter(|name| {
        let port = name.rsplit_once(':').map(|(_, port)| port);
        port.is_some_and(|port| port.parse::<u16>().is_ok())
    });
    found.next().map(str::to_owned)
}

/// Removes advice that names settings of librdkafka.
fn without_hints(text: &str) -> &str {
    let hints = [
        ": broker certificate could not be verified",
        ": client SSL authentication might be",
        ": connecting to a PLAINTEXT",
        ": requesting ApiVersion",
        ": verify that security.protocol",
    ];
    let ends = hints.iter().filter_map(|hint| text.find(hint));
    &text[..ends.min().unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::{ConnectionFailure, RefusalKind};

    const AUTHENTICATION: Option<RDKafkaErrorCode> = Some(RDKafkaErrorCode::Authentication);
    const TRANSPORT: Option<RDKafkaErrorCode> = Some(RDKafkaErrorCode::BrokerTransportFailure);
    const BROKER: &str = "sasl_ssl://kafka:9093/bootstrap";

    #[test]
    fn refusal_kind_follows_from_librdkafka_text() {
        let check = |code, text: &str, expected: Option<RefusalKind>| {
            let failure = ConnectionFailure::parse(code, &format!("{BROKER}: {text}"));
            assert_eq!(failure.kind, expected, "{text}");
            assert_eq!(failure.broker.as_deref(), Some("kafka:9093"), "{text}");
        };
        check(
            AUTHENTICATION,
            "SASL authentication error: Authentication failed: Invalid username or password (after 316ms in state AUTH_REQ)",
            Some(RefusalKind::Denied),
        );
        check(
            TRANSPORT,
            "SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure (after 3ms in state AUTH_REQ)",
            None,
        );
        check(
            AUTHENTICATION,
            "SASL PLAIN mechanism handshake failed: Local: Broker transport failure: broker's supported mechanisms:  (after 2ms in state AUTH_HANDSHAKE)",
            None,
        );
        check(
            AUTHENTICATION,
            "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512 (after 312ms in state AUTH_HANDSHAKE)",
            Some(RefusalKind::Mechanism),
        );
        check(
            AUTHENTICATION,
            "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms:  (after 2ms in state AUTH_HANDSHAKE)",
            Some(RefusalKind::Protocol),
        );
        check(
            TRANSPORT,
            "error:0A000086:SSL routines::certificate verify failed (after 14ms in state SSL_HANDSHAKE)",
            Some(RefusalKind::Certificate),
        );
        check(
            TRANSPORT,
            "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 8ms in state APIVERSION_QUERY)",
            Some(RefusalKind::ClientCertificate),
        );
        check(
            TRANSPORT,
            "Receive failed: error:0A000418:SSL routines::tlsv1 alert unknown ca: SSL alert number 48 (after 8ms in state APIVERSION_QUERY)",
            Some(RefusalKind::ClientCertificate),
        );
        for (text, expected) in [
            (
                "SSL handshake failed: Disconnected: SSL connection closed by peer (after 3ms in state SSL_HANDSHAKE)",
                Some(RefusalKind::Closed),
            ),
            (
                "Disconnected: connection closed by peer: receive 0 after POLLIN (after 4ms in state APIVERSION_QUERY)",
                Some(RefusalKind::Closed),
            ),
            (
                "Send failed: error:80000020:system library::Broken pipe: tls_retry_write_records failure (after 3ms in state UP)",
                Some(RefusalKind::Closed),
            ),
            (
                "Disconnected: SSL connection closed by peer (after 86400000ms in state UP)",
                None,
            ),
            (
                "Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
                None,
            ),
        ] {
            check(TRANSPORT, text, expected);
            check(None, text, expected);
        }
    }

    #[test]
    fn message_keeps_the_broker_and_drops_librdkafka_settings() {
        let check = |text: &str, broker: Option<&str>, message: &str| {
            let failure = ConnectionFailure::parse(None, text);
            assert_eq!(failure.broker.as_deref(), broker, "{text}");
            assert_eq!(failure.message.to_string(), message, "{text}");
        };
        check(
            "[thrd:ssl://a:1/bootstrap]: ssl://a:1/bootstrap: it: failed: connecting to a PLAINTEXT broker listener?",
            Some("a:1"),
            "ssl://a:1/bootstrap: it: failed",
        );
        check("a:1/2: failed", Some("a:1"), "a:1/2: failed");
        check(
            "GroupCoordinator: [::1]:9092: failed",
            Some("[::1]:9092"),
            "GroupCoordinator: [::1]:9092: failed",
        );
        check("1/1 brokers are down", None, "1/1 brokers are down");
    }
}
