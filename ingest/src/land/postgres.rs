//! Landing from PostgreSQL: the rows of a topic, from where its tables are, and what was refused on its way there.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::coordinator::LandingCoordinator;
use super::service::{Ended, Until, keep_on};
use super::source::Source;
use super::tables::Recording;
use super::workers::{Decoders, join_all};
use super::{Destination, Progress};
use crate::declaration::Topic;
use crate::error::Error;
use crate::outlive::Moved;
use crate::postgres::PostgresOptions;
use crate::source::postgres::{self, Reader, Table};

/// A landing from table `weather` in PostgreSQL.
#[derive(Debug)]
pub struct PostgresLanding {
    pub into: Destination,
    pub postgres: PostgresOptions,
    /// Whose rows are landed.
    pub topic: String,
    /// Whose rows those of the older pipeline are, when they are taken over.
    pub older_topic: String,
    /// Whether to end when what the table held at the beginning has landed.
    pub once: bool,
}

/// Lands the rows of a topic until those have landed that were there, or for ever; `shutdown` commits what is in hand and
/// ends it. `progress` hears of each block.
///
/// A landing for ever outlives a storage or a database that is away.
///
/// # Errors
/// When no table is declared for the topic, the database lets us not in, or its rows are of another topic of this name
/// than what has landed. Of a landing that is to end also when the storage or the database fails.
pub async fn from_postgres(
    landing: PostgresLanding,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let topic = landing.into.topic(&landing.topic)?;
    let until = if landing.once {
        Until::Landed
    } else {
        Until::Stopped
    };
    let attempt = async |_: &Moved, progress: &(dyn Fn(&Progress) + Sync)| {
        land(&landing, &topic, &shutdown, progress).await
    };
    let counters = &landing.into.counters;
    keep_on(until, &topic.name, counters, &shutdown, progress, attempt).await
}

/// Lands from what the tables say until the end, or the first error.
async fn land(
    landing: &PostgresLanding,
    topic: &Arc<Topic>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Ended, Error> {
    let table = Table::migrated(&landing.postgres, &topic.name, &landing.older_topic).await?;
    let seen = table.look().await?;
    let source = Source::Postgres {
        recording: Recording::postgres(&topic.name, table.id(), table.topic_id()),
        seen: seen.clone(),
    };
    let mut coordinator = LandingCoordinator::open(&landing.into, topic, source).await?;
    let from = coordinator.resume_from.clone();
    info!(topic = topic.name, ?from, "reading");
    let (decoders, processed) = Decoders::start(topic).await?;
    let (tasks, blocks) = decoders.into_parts();
    let reader = Reader::new(table, seen, from, blocks);
    coordinator.expect_records(reader.pending());
    // Dropped with an error of the landing, it ends the reading.
    let mut reading = JoinSet::new();
    let (once, stop) = (landing.once, shutdown.clone());
    reading.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => Ok(postgres::Ended::Read),
            ended = reader.read(once) => ended,
        }
    });
    coordinator.run(processed, progress).await?;
    join_all(tasks).await?;
    // Also when reading failed: what was read before may be in no one's hands but ours.
    coordinator.finish(progress).await?;
    let ended = reading.join_next().await.expect("one task was spawned");
    match ended.map_err(Error::Task)?? {
        postgres::Ended::Grown => Ok(Ended::Grown),
        postgres::Ended::Read => Ok(Ended::Done(coordinator.progress())),
    }
}
