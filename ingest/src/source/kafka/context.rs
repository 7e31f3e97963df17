//! What librdkafka says on the side: kept for whoever has to say why no answer comes.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::debug;

use super::trouble::Trouble;

/// The client library's consumer, which speaks through us.
pub(super) type Consumer = BaseConsumer<Context>;

/// Where lines of the log say that a connection came to nothing.
const FAILED: &str = "FAIL";

/// What the clients that were made with it and its clones hear. Their words are for those who look closely: what comes of
/// them we say ourselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context(Arc<Mutex<Option<Trouble>>>);

impl Context {
    /// The latest trouble since brokers answered.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.is_refusal())
    }

    /// Brokers answer: what was before is over.
    pub(crate) fn answered(&self) {
        self.set(None);
    }

    fn set(&self, trouble: Option<Trouble>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl ClientContext for Context {
    /// Of what is no error here: a broker that closes a connection may mean us.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, message, "librdkafka");
        if facility == FAILED {
            let trouble = Trouble::of(None, message);
            if trouble.is_refusal() {
                self.set(Some(trouble));
            }
        }
    }

    /// An error that ends something comes out of the call that meets it. What is said here passes.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "librdkafka");
        match error.rdkafka_error_code() {
            // Not of a connection, or of all of them.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown) => {}
            code => self.set(Some(Trouble::of(code, reason))),
        }
    }
}

impl ConsumerContext for Context {}
