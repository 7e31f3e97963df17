//! What librdkafka says on the side, as the log of a service has it.

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

/// The client library's consumer, which speaks through us.
pub(super) type Consumer = BaseConsumer<Context>;

#[derive(Debug)]
pub(super) struct Context;

impl ClientContext for Context {
    /// An error that ends something comes out of the call that meets it. What is said here passes.
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            debug!("librdkafka: {reason}");
        } else {
            warn!("librdkafka: {reason}");
        }
    }
}

impl ConsumerContext for Context {}
