//! Keeps the last failure that librdkafka reports on the side, to explain a request without
//! response.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::debug;

use super::client::KafkaOptions;
use super::connection_failure::ConnectionFailure;
use crate::error::Error;

/// The consumer of the client library, with our callbacks.
pub(super) type Consumer = BaseConsumer<Context>;

/// Facility of log lines about a failed connection.
const FAILED: &str = "FAIL";

/// Callbacks of the clients that are made with it and its clones. They log texts of librdkafka at
/// level debug, since the errors of this crate say the same in terms of our settings.
#[derive(Clone, Debug, Default)]
pub struct Context(Arc<Mutex<Option<ConnectionFailure>>>);

impl Context {
    /// The last failure since brokers answered.
    pub(super) fn failure(&self) -> Option<ConnectionFailure> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether a broker has refused the connection since brokers answered.
    pub fn is_refused(&self) -> bool {
        self.failure().is_some_and(|failure| failure.is_refusal())
    }

    /// The error that names the refusal, if a broker has refused the connection since brokers
    /// answered.
    pub fn refusal(&self, options: &KafkaOptions) -> Option<Error> {
        self.failure()?.refusal(options)
    }

    /// Forgets the failure, because brokers answer.
    pub fn clear_failure(&self) {
        self.set(None);
    }

    fn set(&self, failure: Option<ConnectionFailure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl ClientContext for Context {
    /// librdkafka logs a connection that a broker closes, and reports no error. It may be a
    /// refusal.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, message, "librdkafka");
        if facility == FAILED {
            let failure = ConnectionFailure::parse(None, message);
            if failure.is_refusal() {
                self.set(Some(failure));
            }
        }
    }

    /// Errors reported here are retried by librdkafka. A fatal one is returned by the call itself.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "librdkafka");
        match error.rdkafka_error_code() {
            // About no connection, or about all of them.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown) => {}
            code => self.set(Some(ConnectionFailure::parse(code, reason))),
        }
    }
}

impl ConsumerContext for Context {}
