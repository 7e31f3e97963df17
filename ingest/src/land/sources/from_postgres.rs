//! Landing from PostgreSQL: reads the rows of a topic, and its dead letters there, from the
//! position that the tables in the lake have recorded.

use std::sync::Arc;

use connections::postgres::PostgresOptions;
use service::retry::AttemptState;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info};

use crate::declaration::TopicDeclaration;
use crate::error::Error;
use crate::land::commit::tables::Recording;
use crate::land::coordinator::LandingCoordinator;
use crate::land::sources::landing_source::LandingSource;
use crate::land::sources::run_until::{AttemptOutcome, StopCondition, run_until};
use crate::land::workers::{Decoders, join_all};
use crate::land::{Destination, Progress};
use crate::source::postgres::{self, Table, TableReader};

/// A landing from table `weather` in PostgreSQL.
#[derive(Debug)]
pub struct PostgresLanding {
    /// Where the messages go.
    pub into: Destination,
    /// Server, database and login.
    pub postgres: PostgresOptions,
    /// The topic whose rows are landed.
    pub topic: String,
    /// The topic that the rows of the legacy pipeline are of, when the tables are migrated.
    pub legacy_topic: String,
    /// Whether to end when everything that the table held at the start has landed.
    pub once: bool,
}

/// Lands the rows of a topic until all that were there have landed, or until `shutdown`, which
/// commits the buffer first. It calls `progress` after each block.
///
/// Without `once` it retries while the storage or the database is unavailable.
///
/// # Errors
/// When no table is declared for the topic, the database refuses the login, or its rows belong to
/// another topic of the same name than the landed ones. With `once` also when the storage or the
/// database fails.
pub async fn from_postgres(
    landing: PostgresLanding,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let topic = landing.into.topic(&landing.topic)?;
    let stop = if landing.once {
        StopCondition::SourceExhausted
    } else {
        StopCondition::Shutdown
    };
    let attempt = async |_: &AttemptState, progress: &(dyn Fn(&Progress) + Sync)| {
        land(&landing, &topic, &shutdown, progress).await
    };
    let counters = &landing.into.counters;
    run_until(stop, &topic.name, counters, &shutdown, progress, attempt).await
}

/// Lands from the recorded positions until the end, or the first error.
async fn land(
    landing: &PostgresLanding,
    topic: &Arc<TopicDeclaration>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<AttemptOutcome, Error> {
    let table = Table::open_migrated(&landing.postgres, &topic.name, &landing.legacy_topic).await?;
    let extents = table.shared_extents().await?;
    let source = LandingSource::Postgres {
        recording: Recording::postgres(&topic.name, table.id(), table.topic_id()),
        extents: extents.clone(),
    };
    let mut coordinator = LandingCoordinator::open(&landing.into, topic, source).await?;
    let from = coordinator.resume_from.clone();
    info!(topic = topic.name, ?from, "reading");
    let (decoders, processed) = Decoders::start(topic).await?;
    let (tasks, blocks) = decoders.into_parts();
    let reader = TableReader::new(table, extents, from, blocks);
    coordinator.expect_records(reader.pending());
    // Dropping the set, on an error of the landing, ends the reading.
    let mut reading = JoinSet::new();
    let (once, stop) = (landing.once, shutdown.clone());
    let read = async move {
        tokio::select! {
            () = stop.cancelled() => Ok(postgres::ReadOutcome::Read),
            ended = reader.read(once) => ended,
        }
    };
    reading.spawn(read.in_current_span());
    coordinator.run(processed, progress).await?;
    join_all(tasks).await?;
    // Also when reading failed: rows may be deleted before the next attempt.
    coordinator.finish(progress).await?;
    let ended = reading.join_next().await.expect("one task was spawned");
    match ended.map_err(Error::Task)?? {
        postgres::ReadOutcome::PartitionsAdded => Ok(AttemptOutcome::PartitionsAdded),
        postgres::ReadOutcome::Read => Ok(AttemptOutcome::Done(coordinator.progress())),
    }
}
