//! Landing from Kafka: the topic is read from where its tables are, and what is read is committed with
//! how far it was read.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::coordinator::{Landing, Source};
use super::workers::{Decoders, join_all};
use super::{Destination, Progress, noting};
use crate::declaration::Topic;
use crate::error::Error;
use crate::outlive::{Moved, outlive};
use crate::source::Block;
use crate::source::kafka::{self, Connection, KafkaOptions, Reading};

/// A landing from a Kafka topic.
#[derive(Debug)]
pub struct KafkaLanding {
    pub into: Destination,
    pub kafka: KafkaOptions,
    /// Whether to end when what the topic held at the beginning has landed.
    pub once: bool,
    /// Whether to go on behind messages that are gone from Kafka.
    pub accept_loss: bool,
}

/// Lands a topic until it has landed what was there, or for ever; `shutdown` commits what is in hand and ends it.
/// `progress` hears of each block.
///
/// A landing for ever outlives a storage or brokers that are away.
///
/// # Errors
/// When no table is declared for the topic, there is no such topic, it is another one than before, or messages are
/// gone from it. Of a landing that is to end also when the storage or Kafka fails.
pub async fn from_kafka(
    landing: KafkaLanding,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let topic = landing.into.topic(&landing.kafka.topic)?;
    let land = async |moved: &Moved| {
        let progress = noting(moved, progress);
        land(&landing, &topic, &shutdown, &progress).await
    };
    if landing.once {
        land(&Moved::default()).await
    } else {
        outlive(&shutdown, &|_| {}, land).await
    }
}

/// Lands from what the tables say until the end, or the first error.
async fn land(
    landing: &KafkaLanding,
    topic: &Arc<Topic>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let connection = Connection::open(landing.kafka.clone(), "isobar-land").await?;
    let extents = connection.extents().await?;
    let source = Source::Kafka {
        connection: connection.clone(),
        extents: extents.clone(),
    };
    let mut coordinator = Landing::open(&landing.into, topic, source).await?;
    let from = kafka::start(
        connection.topic(),
        &coordinator.resume,
        &extents,
        landing.accept_loss,
    )?;
    let until = extents
        .iter()
        .map(|(number, extent)| (*number, extent.high));
    let reading = Reading {
        until: landing.once.then(|| until.collect()),
        from,
    };
    info!(topic = connection.topic(), from = ?reading.from, "reading");
    coordinator.expect_records(kafka::pending(&reading.from, &extents));
    let (decoders, processed) = Decoders::start(topic).await?;
    // However this ends, the thread that reads ends too.
    let stop = shutdown.child_token();
    let _stop = stop.clone().drop_guard();
    let (tasks, blocks) = decoders.into_parts();
    let reader = {
        let connection = connection.clone();
        tokio::task::spawn_blocking(move || {
            let send = |records| blocks.blocking_send(Block::Records(records)).is_ok();
            kafka::read(&connection, &reading, send, &stop)
        })
    };
    coordinator.take(processed, progress).await?;
    join_all(tasks).await?;
    // Also when reading failed: what was read before may be in no one's hands but ours.
    coordinator.finish(progress).await?;
    match reader.await.map_err(Error::Task)? {
        Ok(()) => Ok(coordinator.progress()),
        Err(Error::OffsetsGone { .. }) => {
            Err(kafka::why_gone(&connection, &coordinator.committed()).await)
        }
        Err(error) => Err(error),
    }
}
