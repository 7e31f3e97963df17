//! Questions about a topic from whoever does not read it: readiness, and the check of all connections.

use std::fmt;

use super::{Connection, KafkaOptions};
use crate::error::Error;

/// A connection for asking whether brokers answer and have the topic. It connects when it is first asked.
#[derive(Clone)]
pub struct Probe(Connection);

impl Probe {
    /// # Errors
    /// When the options are none that the client library takes, because of the files of TLS.
    pub fn new(options: KafkaOptions) -> Result<Self, Error> {
        Connection::new(options, "isobar").map(Self)
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// When no broker answers or lets us in, or there is no such topic.
    pub async fn partitions(&self) -> Result<usize, Error> {
        // It also takes what the library tells of brokers that come and go, which would pile up: nobody else polls.
        Ok(self.0.reach().await?.len())
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.0.options).finish()
    }
}
