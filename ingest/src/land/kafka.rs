//! Landing from Kafka: the topic is read from where its tables are, and what is read is committed with
//! how far it was read.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::coordinator::{Landing, Source};
use super::outlive::outlive;
use super::workers::{Decoders, join_all};
use super::{Destination, Progress};
use crate::declaration::Topic;
use crate::error::Error;
use crate::source::Block;
use crate::source::kafka::{self, Connection, Extent, KafkaOptions, Positions, Reading};

/// How often a landing looks whether the topic has partitions that it does not read.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

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
/// A landing for ever outlives a storage or brokers that are away, and reads partitions that the topic is given
/// meanwhile.
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
    let land = async |progress: &(dyn Fn(&Progress) + Sync)| {
        loop {
            if let Ended::Done(done) = land(&landing, &topic, &shutdown, progress).await? {
                return Ok(done);
            }
        }
    };
    if landing.once {
        land(progress).await
    } else {
        outlive(&shutdown, &landing.into.counters, progress, land).await
    }
}

/// How reading came to its end.
enum Ended {
    /// There is nothing more to read, or nobody wants it.
    Done(Progress),
    /// The topic has got partitions that are not read. All that was read is committed.
    Grown,
}

/// Lands from what the tables say until the end, or the first error.
async fn land(
    landing: &KafkaLanding,
    topic: &Arc<Topic>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Ended, Error> {
    let connection = Connection::open(landing.kafka.clone()).await?;
    let extents = connection.extents().await?;
    let source = Source::Kafka {
        connection: connection.clone(),
        extents: extents.clone(),
    };
    let mut coordinator = Landing::open(&landing.into, topic, source).await?;
    let from = start(
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
    coordinator.expect_records(pending(&reading.from, &extents));
    let (decoders, processed) = Decoders::start(topic).await?;
    // However this ends, the thread that reads ends too.
    let stop = shutdown.child_token();
    let _stop = stop.clone().drop_guard();
    let (tasks, blocks) = decoders.into_parts();
    let reader = {
        let (connection, stop) = (connection.clone(), stop.clone());
        tokio::task::spawn_blocking(move || {
            let send = |records| blocks.blocking_send(Block::Records(records)).is_ok();
            kafka::read(&connection, &reading, send, &stop)
        })
    };
    let grown = {
        let mut taken = pin!(coordinator.take(processed, progress));
        tokio::select! {
            ended = &mut taken => {
                ended?;
                false
            }
            // Which partitions are read is settled when reading begins, so it begins anew.
            () = grows(&connection, &extents), if !landing.once => {
                stop.cancel();
                taken.await?;
                !shutdown.is_cancelled()
            }
        }
    };
    join_all(tasks).await?;
    // Also when reading failed: what was read before may be in no one's hands but ours.
    coordinator.finish(progress).await?;
    match reader.await.map_err(Error::Task)? {
        Ok(()) if grown => Ok(Ended::Grown),
        Ok(()) => Ok(Ended::Done(coordinator.progress())),
        Err(Error::OffsetsGone { .. }) => {
            Err(why_gone(&connection, &coordinator.committed()).await)
        }
        Err(error) => Err(error),
    }
}

/// Waits until the topic has partitions that are not among `known`, and can say what they hold.
async fn grows(connection: &Connection, known: &BTreeMap<i32, Extent>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        // When the brokers do not answer, the reader says so; here they are asked again.
        let found = connection.partitions().await.unwrap_or_default();
        let new: Vec<_> = found.iter().filter(|n| !known.contains_key(n)).collect();
        // A partition may be listed before its broker knows of it.
        if !new.is_empty() && connection.extents().await.is_ok() {
            info!(
                topic = connection.topic(),
                ?new,
                "the topic has new partitions"
            );
            return;
        }
    }
}

/// Where to begin to read each topic partition.
///
/// # Errors
/// When what is to be read next is not there.
fn start(
    topic: &str,
    resume: &Positions,
    extents: &BTreeMap<i32, Extent>,
    accept_loss: bool,
) -> Result<Positions, Error> {
    let mut from = Positions::new();
    for (partition, extent) in extents {
        let next = resume.get(partition).copied();
        let next = match next {
            // Nothing of it has landed yet: from the first message that there is.
            None => extent.low,
            Some(next) if next > extent.high => {
                return Err(Error::OffsetsBeyond {
                    topic: topic.to_owned(),
                    partition: *partition,
                    next,
                    high: extent.high,
                });
            }
            Some(next) if next >= extent.low => next,
            Some(next) if accept_loss => {
                warn!(
                    topic,
                    partition,
                    from = next,
                    to = extent.low - 1,
                    "these offsets are gone from Kafka and left out"
                );
                extent.low
            }
            Some(next) => {
                return Err(Error::OffsetsLost {
                    topic: topic.to_owned(),
                    partition: *partition,
                    next,
                    low: extent.low,
                });
            }
        };
        from.insert(*partition, next);
    }
    Ok(from)
}

/// Records between where reading begins and where the topic ends now.
fn pending(from: &Positions, extents: &BTreeMap<i32, Extent>) -> u64 {
    let pending = extents.iter().map(|(partition, extent)| {
        let from = from.get(partition).copied().unwrap_or(extent.low);
        u64::try_from(extent.high - from).unwrap_or_default()
    });
    pending.sum()
}

/// Why what was to be read next is not there.
async fn why_gone(connection: &Connection, committed: &Positions) -> Error {
    let looked = async {
        connection.refuse_recreated().await?;
        let extents = connection.extents().await?;
        start(connection.topic(), committed, &extents, false)
    };
    match looked.await {
        Err(error) => error,
        // It has come back meanwhile.
        Ok(_) => Error::OffsetsGone {
            topic: connection.topic().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{pending, start};
    use crate::error::Error;
    use crate::source::kafka::Extent;

    #[test]
    fn reading_begins_where_the_tables_end_or_says_why_not() {
        let extents = [(0, Extent { low: 5, high: 9 })].into();
        let check = |next: Option<i64>, accept_loss, expected: Result<i64, &str>| {
            let resume = next.map(|next| (0, next)).into_iter().collect();
            let found = start("t", &resume, &extents, accept_loss);
            let found = found.map(|from| from[&0]).map_err(|error| match error {
                Error::OffsetsLost { low: 5, .. } => "lost",
                Error::OffsetsBeyond { high: 9, .. } => "beyond",
                _ => "another",
            });
            assert_eq!(found, expected, "{next:?}");
        };
        check(None, false, Ok(5));
        check(Some(5), false, Ok(5));
        check(Some(9), false, Ok(9));
        check(Some(10), false, Err("beyond"));
        check(Some(4), false, Err("lost"));
        check(Some(4), true, Ok(5));
        assert_eq!(pending(&[(0, 7)].into(), &extents), 2);
    }
}
