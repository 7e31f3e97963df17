//! Requests about topics without reading them: for readiness, and for `isobar check`.

use std::fmt;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::{Connection, KafkaOptions};
use crate::error::Error;

/// A connection that asks whether brokers answer and have the topics. It is opened by the first
/// request, since most commands that end by themselves are never asked.
#[derive(Clone)]
pub struct Probe {
    options: KafkaOptions,
    topics: Vec<String>,
    connection: Arc<OnceCell<Connection>>,
}

impl Probe {
    /// A probe for the topic of `options`. Sends no request.
    pub fn new(options: KafkaOptions) -> Self {
        Self {
            topics: vec![options.topic.clone()],
            options,
            connection: Arc::default(),
        }
    }

    /// Sets the topics to ask for.
    #[must_use]
    pub fn of(self, topics: Vec<String>) -> Self {
        Self { topics, ..self }
    }

    /// The number of partitions of all topics together.
    ///
    /// # Errors
    /// When no broker answers, the brokers refuse the login, a topic does not exist, or the client
    /// library rejects the options, for example the files of TLS.
    pub async fn partitions(&self) -> Result<usize, Error> {
        let connect = async || Connection::new(self.options.clone(), "isobar");
        let connection = self.connection.get_or_try_init(connect).await?;
        let mut count = 0;
        for topic in &self.topics {
            // It also drains the events of librdkafka, which would pile up without another poll.
            count += connection.of(topic).partitions_polling().await?.len();
        }
        Ok(count)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.options).finish()
    }
}
