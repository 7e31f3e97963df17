//! What librdkafka says of a connection that came to nothing, and whether it means that a broker refuses us.
//!
//! It tries again whatever happens, and says what happened in words alone. The words are those of the librdkafka that is
//! part of the binary; the system tests meet all of them.

use rdkafka::error::RDKafkaErrorCode;

use super::client::KafkaOptions;
use crate::error::Error;

/// A broker that wants SASL closes a connection without it once it is asked anything; one that ends does so later.
const SOON_MS: u64 = 2_000;

/// The latest failure of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// `host:port`, if it was said.
    broker: Option<String>,
    fault: Option<Fault>,
    words: Words,
}

/// What librdkafka said, without the names of its own settings, which are not ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Words(String);

/// Why a broker has nothing to do with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// User or password.
    Denied,
    Mechanism,
    /// The broker's certificate.
    Certificate,
    /// Ours, or that there is none.
    ClientCertificate,
    /// It speaks something else.
    Protocol,
    /// It hung up, as one does that speaks something else, and one that is just ending.
    Closed,
}

impl Trouble {
    /// Reads an error event, which has a code, or a line of the log, which has none.
    pub(super) fn of(code: Option<RDKafkaErrorCode>, text: &str) -> Self {
        // Lines of the log begin with the name of a thread.
        let (_, text) = text.rsplit_once("]: ").unwrap_or(("", text));
        Self {
            broker: broker(text),
            fault: Fault::of(code, text),
            words: Words(without_hints(text).to_owned()),
        }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        self.fault.is_some()
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// The refusal by name, if it is one.
    pub(crate) fn refusal(self, options: &KafkaOptions) -> Option<Error> {
        let broker = self.broker.unwrap_or_else(|| options.servers());
        let (source, security) = (self.words, &options.security);
        let protocol = security.protocol();
        let user = security.user.as_ref();
        let mechanism = user.map_or("", |user| user.mechanism.as_str());
        let own = security.tls.as_ref().and_then(|tls| tls.client.as_ref());
        Some(match self.fault? {
            Fault::Denied => Error::KafkaDenied {
                broker,
                user: user.map(|user| user.name.clone()).unwrap_or_default(),
                mechanism,
                source,
            },
            Fault::Mechanism => Error::KafkaMechanism {
                broker,
                mechanism,
                source,
            },
            Fault::Certificate => {
                let tls = security.tls.as_ref();
                let roots = tls.and_then(|tls| tls.root_certificate.as_ref());
                let roots = roots.map(|path| format!("one of {}", path.display()));
                Error::KafkaCertificate {
                    broker,
                    roots: roots.unwrap_or_else(|| "one of the system's".to_owned()),
                    source,
                }
            }
            Fault::ClientCertificate => Error::KafkaClientCertificate {
                broker,
                own: own.map_or("a client without a certificate".to_owned(), |own| {
                    format!("the certificate in {}", own.certificate.display())
                }),
                source,
            },
            Fault::Protocol => Error::KafkaProtocol {
                broker,
                protocol,
                source,
            },
            Fault::Closed => Error::KafkaClosed {
                broker,
                protocol,
                source,
            },
        })
    }
}

impl Fault {
    fn of(code: Option<RDKafkaErrorCode>, text: &str) -> Option<Self> {
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
        if hung_up_early(text) {
            return Some(Self::Closed);
        }
        // "Local:" is an error of the connection, which broke meanwhile.
        (code == Some(RDKafkaErrorCode::Authentication) && !says("Local: ")).then_some(Self::Denied)
    }
}

/// Whether the broker ended the connection before it said anything.
fn hung_up_early(text: &str) -> bool {
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

/// Cuts off advice that names settings of librdkafka.
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

    use super::{Fault, Trouble};

    const AUTHENTICATION: Option<RDKafkaErrorCode> = Some(RDKafkaErrorCode::Authentication);
    const TRANSPORT: Option<RDKafkaErrorCode> = Some(RDKafkaErrorCode::BrokerTransportFailure);

    #[test]
    fn a_refusal_is_known_by_what_librdkafka_says() {
        let check = |code, text: &str, expected: Option<Fault>| {
            let trouble = Trouble::of(code, &format!("sasl_ssl://kafka:9093/bootstrap: {text}"));
            assert_eq!(trouble.fault, expected, "{text}");
            assert_eq!(trouble.broker.as_deref(), Some("kafka:9093"), "{text}");
        };
        check(
            AUTHENTICATION,
            "SASL authentication error: Authentication failed: Invalid username or password (after 316ms in state AUTH_REQ)",
            Some(Fault::Denied),
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
            Some(Fault::Mechanism),
        );
        check(
            AUTHENTICATION,
            "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms:  (after 2ms in state AUTH_HANDSHAKE)",
            Some(Fault::Protocol),
        );
        check(
            TRANSPORT,
            "error:0A000086:SSL routines::certificate verify failed (after 14ms in state SSL_HANDSHAKE)",
            Some(Fault::Certificate),
        );
        check(
            TRANSPORT,
            "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 8ms in state APIVERSION_QUERY)",
            Some(Fault::ClientCertificate),
        );
        check(
            TRANSPORT,
            "Receive failed: error:0A000418:SSL routines::tlsv1 alert unknown ca: SSL alert number 48 (after 8ms in state APIVERSION_QUERY)",
            Some(Fault::ClientCertificate),
        );
        for (text, expected) in [
            (
                "SSL handshake failed: Disconnected: SSL connection closed by peer (after 3ms in state SSL_HANDSHAKE)",
                Some(Fault::Closed),
            ),
            (
                "Disconnected: connection closed by peer: receive 0 after POLLIN (after 4ms in state APIVERSION_QUERY)",
                Some(Fault::Closed),
            ),
            (
                "Send failed: error:80000020:system library::Broken pipe: tls_retry_write_records failure (after 3ms in state UP)",
                Some(Fault::Closed),
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
    fn the_broker_is_named_and_settings_of_librdkafka_are_not() {
        let check = |text: &str, broker: Option<&str>, words: &str| {
            let trouble = Trouble::of(None, text);
            assert_eq!(trouble.broker.as_deref(), broker, "{text}");
            assert_eq!(trouble.words.to_string(), words, "{text}");
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
