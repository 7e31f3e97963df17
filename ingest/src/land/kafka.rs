//! Landing from Kafka: the topic is read from where its tables are, and what is read is committed with
//! how far it was read.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use engine::fail;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::coordinator::LandingCoordinator;
use super::service::{Ended, Until, keep_on};
use super::source::Source;
use super::topics::{self, Together};
use super::workers::{Decoders, join_all};
use super::{Destination, Progress};
use crate::declaration::Topic;
use crate::error::Error;
use crate::health::Health;
use crate::outlive::Moved;
use crate::source::Block;
use crate::source::kafka::{self, Connection, Extent, KafkaOptions, Reading};

/// How often a landing looks whether the topic has partitions that it does not read.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A landing from topics of Kafka, side by side.
#[derive(Debug)]
pub struct KafkaLanding {
    pub into: Destination,
    /// How each topic is reached.
    pub topics: Vec<KafkaOptions>,
    /// Ill from when a topic has stopped for good while others go on.
    pub health: Health,
    /// Whether to end when what the topic held at the beginning has landed.
    pub once: bool,
    /// Whether to go on behind messages that are gone from Kafka.
    pub accept_loss: bool,
}

/// Lands topics until they have landed what was there, or for ever; `shutdown` commits what is in hand and ends it.
/// `progress` hears of each block.
///
/// A landing for ever outlives a storage or brokers that are away, also brokers that no longer let it in, and reads
/// partitions that a topic is given meanwhile. What stops one topic leaves the others alone, and is told when they have
/// ended.
///
/// # Errors
/// When no table is declared for a topic, brokers do not let us in, there is no such topic, it is another one than before, or messages are
/// gone from it. Of a landing that is to end also when the storage or Kafka fails.
pub async fn from_kafka(
    landing: KafkaLanding,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let names = landing.topics.iter().map(|kafka| kafka.topic.as_str());
    let names: Vec<_> = names.collect();
    let declared = names.iter().map(|name| landing.into.topic(name));
    // Before anything is read: a topic that nobody declared is a mistake of the caller.
    let declared = declared.collect::<Result<Vec<_>, _>>()?;
    let together = Together::new(names.len(), progress);
    let landings = landing.topics.iter().zip(declared).enumerate();
    let landings = landings.map(|(number, (kafka, topic))| {
        let (landing, shutdown, together) = (&landing, &shutdown, &together);
        async move {
            let progress = |progress: &Progress| together.hear(number, progress);
            land_topic(landing, kafka, &topic, shutdown, &progress).await
        }
    });
    topics::all(&names, landings, &landing.into.counters, &landing.health).await
}

/// Lands one of the topics.
async fn land_topic(
    landing: &KafkaLanding,
    options: &KafkaOptions,
    topic: &Arc<Topic>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let until = if landing.once {
        Until::Landed
    } else {
        Until::Stopped
    };
    let attempt = async |moved: &Moved, progress: &(dyn Fn(&Progress) + Sync)| {
        until_sure(async || land(landing, options, topic, shutdown, moved, progress).await).await
    };
    let counters = &landing.into.counters;
    keep_on(until, &topic.name, counters, shutdown, progress, attempt).await
}

/// Attempts until one that misses messages misses the same ones as the attempt before. What the tables have not when they
/// are opened, another landing may have landed by the time that Kafka has it no more.
async fn until_sure<T>(attempt: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let mut missed = None;
    loop {
        let ended = attempt().await;
        let misses = match &ended {
            Err(
                Error::OffsetsLost {
                    partition, next, ..
                }
                | Error::OffsetsBeyond {
                    partition, next, ..
                },
            ) => Some((*partition, *next)),
            _ => None,
        };
        if misses.is_none() || misses == missed {
            return ended;
        }
        missed = misses;
    }
}

/// Lands from what the tables say until the end, or the first error.
async fn land(
    landing: &KafkaLanding,
    options: &KafkaOptions,
    topic: &Arc<Topic>,
    shutdown: &CancellationToken,
    moved: &Moved,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Ended, Error> {
    let connection = Connection::open(options.clone(), "isobar-land").await?;
    moved.let_in();
    let before = connection.extents().await?;
    let source = Source::Kafka {
        connection: connection.clone(),
        extents: before.clone(),
    };
    fail::point("tables.begun");
    let mut coordinator = LandingCoordinator::open(&landing.into, topic, source).await?;
    fail::point("tables.opened");
    // Asked anew now that it is known how far the tables are: another landing may have gone on while they were opened.
    let mut extents = connection.extents().await?;
    extents.retain(|number, _| before.contains_key(number));
    let from = kafka::start_for_all(
        connection.topic(),
        &coordinator.resume_from,
        &coordinator.min_started(),
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
        let (connection, stop) = (connection.clone(), stop.clone());
        tokio::task::spawn_blocking(move || {
            let send = |records| blocks.send_blocking(Block::Records(records)).is_ok();
            kafka::read(&connection, &reading, send, &stop)
        })
    };
    let grown = {
        let mut applied = pin!(coordinator.run(processed, progress));
        tokio::select! {
            ended = &mut applied => {
                ended?;
                false
            }
            // Which partitions are read is settled when reading begins, so it begins anew.
            () = grows(&connection, &extents), if !landing.once => {
                stop.cancel();
                applied.await?;
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
            let min_started = coordinator.min_started();
            Err(kafka::why_gone(&connection, &min_started, landing.accept_loss).await)
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::until_sure;
    use crate::error::Error;

    fn lost(next: i64) -> Result<(), Error> {
        Err(Error::OffsetsLost {
            topic: "t".to_owned(),
            partition: 0,
            next,
            low: 100,
        })
    }

    fn beyond(next: i64) -> Result<(), Error> {
        Err(Error::OffsetsBeyond {
            topic: "t".to_owned(),
            partition: 0,
            next,
            high: 1,
        })
    }

    #[tokio::test]
    async fn messages_are_missed_when_the_tables_opened_anew_miss_them_too() {
        let check = async |attempts: Vec<Result<(), Error>>, expected: Result<(), i64>| {
            let attempts = RefCell::new(attempts.into_iter());
            let next = async || attempts.borrow_mut().next().expect("no more attempts");
            let ended = until_sure(next).await.map_err(|error| match error {
                Error::OffsetsLost { next, .. } | Error::OffsetsBeyond { next, .. } => next,
                _ => 0,
            });
            assert_eq!(ended, expected);
            assert!(attempts.into_inner().next().is_none(), "one too few");
        };
        check(vec![Ok(())], Ok(())).await;
        check(vec![lost(5), Ok(())], Ok(())).await;
        check(vec![lost(5), lost(9), beyond(200), Ok(())], Ok(())).await;
        check(vec![lost(5), lost(5)], Err(5)).await;
        check(vec![beyond(5), lost(7), lost(7)], Err(7)).await;
        check(
            vec![Err(Error::OffsetsGone {
                topic: "t".to_owned(),
            })],
            Err(0),
        )
        .await;
    }
}
