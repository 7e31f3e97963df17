//! Landing from Kafka: reads each topic from the position that its tables have recorded, and
//! commits rows together with the new position.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use connections::kafka::{self, Connection, KafkaOptions, Reading, Watermarks};
use service::fail;
use service::readiness::ReadinessState;
use service::retry::AttemptState;
use tokio_util::sync::CancellationToken;
use tracing::{Span, info};

use crate::declaration::TopicDeclaration;
use crate::error::Error;
use crate::land::coordinator::LandingCoordinator;
use crate::land::sources::landing_source::LandingSource;
use crate::land::sources::run_until::{AttemptOutcome, StopCondition, run_until};
use crate::land::sources::topics::{self, AggregateProgress};
use crate::land::workers::{Decoders, join_all};
use crate::land::{Destination, Progress};
use crate::source::Block;

/// How often a landing asks the brokers for new partitions of the topic.
const PARTITION_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A landing from one or more topics of Kafka, in parallel.
#[derive(Debug)]
pub struct KafkaLanding {
    /// Where the messages go.
    pub into: Destination,
    /// Brokers and name of each topic.
    pub topics: Vec<KafkaOptions>,
    /// Not ready once a topic has stopped permanently while others go on.
    pub health: ReadinessState,
    /// Whether to end when everything that the topics held at the start has landed.
    pub once: bool,
    /// Whether to skip messages that Kafka no longer holds, instead of failing.
    pub accept_loss: bool,
}

/// Lands topics until everything that they held has landed, or until `shutdown`, which commits the
/// buffers first. It calls `progress` after each block.
///
/// Without `once` it retries while the storage or the brokers are unavailable, and while brokers
/// refuse a login that they accepted before; it also starts to read partitions that are added to a
/// topic. An error stops one topic only, and is returned when the other topics have ended.
///
/// # Errors
/// When no table is declared for a topic, the brokers refuse the login, a topic does not exist or
/// was recreated, or Kafka no longer holds messages that have not landed. With `once` also when the
/// storage or Kafka fails.
pub async fn from_kafka(
    landing: KafkaLanding,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let names = landing.topics.iter().map(|kafka| kafka.topic.as_str());
    let names: Vec<_> = names.collect();
    let declared = names.iter().map(|name| landing.into.topic(name));
    // Checked before anything is read: an undeclared topic is a mistake of the caller.
    let declared = declared.collect::<Result<Vec<_>, _>>()?;
    let aggregate = AggregateProgress::new(names.len(), progress);
    let landings = landing.topics.iter().zip(declared).enumerate();
    let landings = landings.map(|(number, (kafka, topic))| {
        let (landing, shutdown, aggregate) = (&landing, &shutdown, &aggregate);
        async move {
            let progress = |progress: &Progress| aggregate.report(number, progress);
            land_topic(landing, kafka, &topic, shutdown, &progress).await
        }
    });
    topics::land_all(&names, landings, &landing.into.counters, &landing.health).await
}

/// Lands one of the topics.
async fn land_topic(
    landing: &KafkaLanding,
    options: &KafkaOptions,
    topic: &Arc<TopicDeclaration>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let stop = if landing.once {
        StopCondition::SourceExhausted
    } else {
        StopCondition::Shutdown
    };
    let attempt = async |state: &AttemptState, progress: &(dyn Fn(&Progress) + Sync)| {
        land(landing, options, topic, shutdown, state, progress).await
    };
    let counters = &landing.into.counters;
    run_until(stop, &topic.name, counters, shutdown, progress, attempt).await
}

/// Lands from the recorded positions until the end, or the first error.
async fn land(
    landing: &KafkaLanding,
    options: &KafkaOptions,
    topic: &Arc<TopicDeclaration>,
    shutdown: &CancellationToken,
    state: &AttemptState,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<AttemptOutcome, Error> {
    let connection = Connection::open(options.clone(), "isobar-land").await?;
    state.authenticated();
    let before = connection.watermarks().await?;
    let source = LandingSource::Kafka {
        connection: connection.clone(),
        watermarks: before.clone(),
    };
    fail::point("tables.begun");
    let mut coordinator = LandingCoordinator::open(&landing.into, topic, source).await?;
    fail::point("tables.opened");
    // Read again after the tables: another landing may have committed while they were opened, and
    // Kafka may have deleted what it committed.
    let mut watermarks = connection.watermarks().await?;
    watermarks.retain(|number, _| before.contains_key(number));
    let from = kafka::start_offsets_of_tables(
        connection.topic(),
        &coordinator.resume_from,
        &coordinator.min_started(),
        &watermarks,
        landing.accept_loss,
    )?;
    let until = watermarks.iter().map(|(number, held)| (*number, held.high));
    let reading = Reading {
        until: landing.once.then(|| until.collect()),
        from,
    };
    info!(topic = connection.topic(), from = ?reading.from, "reading");
    coordinator.expect_records(kafka::pending(&reading.from, &watermarks));
    let (decoders, processed) = Decoders::start(topic).await?;
    // Cancelled when this function returns, so that the reader thread ends with it.
    let stop = shutdown.child_token();
    let _stop = stop.clone().drop_guard();
    let (tasks, blocks) = decoders.into_parts();
    let reader = {
        let (connection, stop) = (connection.clone(), stop.clone());
        let span = Span::current();
        tokio::task::spawn_blocking(move || {
            let _entered = span.entered();
            let send = |records| blocks.send_blocking(Block::Records(records)).is_ok();
            kafka::read(&connection, &reading, send, &stop)
        })
    };
    let partitions_added = {
        let mut applied = pin!(coordinator.run(processed, progress));
        tokio::select! {
            ended = &mut applied => {
                ended?;
                false
            }
            // Partitions are assigned once, when reading begins: new ones need a new attempt.
            () = partitions_added(&connection, &watermarks), if !landing.once => {
                stop.cancel();
                applied.await?;
                !shutdown.is_cancelled()
            }
        }
    };
    join_all(tasks).await?;
    // Also when reading failed: Kafka may delete what was read before the next attempt.
    coordinator.finish(progress).await?;
    match reader.await.map_err(Error::Task)? {
        Ok(()) if partitions_added => Ok(AttemptOutcome::PartitionsAdded),
        Ok(()) => Ok(AttemptOutcome::Done(coordinator.progress())),
        Err(connections::Error::OffsetsOutOfRange { .. }) => {
            let min_started = coordinator.min_started();
            let explained =
                kafka::explain_out_of_range(&connection, &min_started, landing.accept_loss);
            Err(explained.await.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until the topic has partitions that are not in `known`, and their watermarks can be read.
async fn partitions_added(connection: &Connection, known: &BTreeMap<i32, Watermarks>) {
    loop {
        tokio::time::sleep(PARTITION_CHECK_INTERVAL).await;
        // Failures are left to the reader, which reports them; here the brokers are asked again.
        let found = connection.partitions().await.unwrap_or_default();
        let new: Vec<_> = found.iter().filter(|n| !known.contains_key(n)).collect();
        // A new partition may be listed before its broker can answer for it.
        if !new.is_empty() && connection.watermarks().await.is_ok() {
            info!(
                topic = connection.topic(),
                ?new,
                "the topic has new partitions"
            );
            return;
        }
    }
}
