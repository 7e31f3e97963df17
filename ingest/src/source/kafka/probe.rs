//! Questions about a topic from whoever does not read it: readiness, and the check of all connections.

use std::fmt;

use super::{Connection, KafkaOptions};
use crate::error::Error;

/// A connection for asking whether brokers answer and have the topics. It connects when it is first asked.
#[derive(Clone)]
pub struct Probe {
    connection: Connection,
    topics: Vec<String>,
}

impl Probe {
    /// # Errors
    /// When the options are none that the client library takes, because of the files of TLS.
    pub fn new(options: KafkaOptions) -> Result<Self, Error> {
        Ok(Self {
            topics: vec![options.topic.clone()],
            connection: Connection::new(options, "isobar")?,
        })
    }

    /// Asks for these topics, and no other.
    #[must_use]
    pub fn of(self, topics: Vec<String>) -> Self {
        Self { topics, ..self }
    }

    /// How many partitions the topics have together.
    ///
    /// # Errors
    /// When no broker answers or lets us in, or there is no such topic.
    pub async fn partitions(&self) -> Result<usize, Error> {
        let mut count = 0;
        for topic in &self.topics {
            // It also takes what the library tells of brokers that come and go, which would pile up: nobody else polls.
            count += self.connection.of(topic).reach().await?.len();
        }
        Ok(count)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe")
            .field(&self.connection.options)
            .finish()
    }
}
