//! Questions about a topic from whoever does not read it: readiness, and the check of all connections.

use std::fmt;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::{Connection, KafkaOptions};
use crate::error::Error;

/// A connection for asking whether brokers answer and have the topics. It is made when it is first asked: of most processes
/// that end by themselves nobody asks anything.
#[derive(Clone)]
pub struct Probe {
    options: KafkaOptions,
    topics: Vec<String>,
    connection: Arc<OnceCell<Connection>>,
}

impl Probe {
    pub fn new(options: KafkaOptions) -> Self {
        Self {
            topics: vec![options.topic.clone()],
            options,
            connection: Arc::default(),
        }
    }

    /// Asks for these topics, and no other.
    #[must_use]
    pub fn of(self, topics: Vec<String>) -> Self {
        Self { topics, ..self }
    }

    /// How many partitions the topics have together.
    ///
    /// # Errors
    /// When no broker answers or lets us in, there is no such topic, or the options are none that the client library
    /// takes, because of the files of TLS.
    pub async fn partitions(&self) -> Result<usize, Error> {
        let connect = async || Connection::new(self.options.clone(), "isobar");
        let connection = self.connection.get_or_try_init(connect).await?;
        let mut count = 0;
        for topic in &self.topics {
            // It also takes what the library tells of brokers that come and go, which would pile up: nobody else polls.
            count += connection.of(topic).reach().await?.len();
        }
        Ok(count)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.options).finish()
    }
}
