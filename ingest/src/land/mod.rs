//! Landing: messages become rows of the tables that their topic declares, each exactly once.
//!
//! Blocks of lines are read and decoded side by side. One coordinator, `Landing`, takes the rows, leaves out
//! those whose message a table has already, has them staged as data files in lots, and commits them when enough have
//! come or enough time has passed.

mod buffer;
mod committer;
mod coordinator;
pub(crate) mod dead_letters;
mod decode;
mod event_time;
mod kafka;
mod landed;
mod memory_budget;
mod metrics;
mod postgres;
mod reached;
mod replay;
mod service;
mod source;
mod stage;
mod tables;
mod topics;
pub(crate) mod transform;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use engine::lake::{Lake, Location};
use engine::session::Session;
use tokio_util::sync::CancellationToken;

use self::coordinator::Landing;
pub use self::kafka::{KafkaLanding, from_kafka};
pub use self::memory_budget::MemoryBudget;
pub use self::metrics::Counters;
pub use self::postgres::{PostgresLanding, from_postgres};
pub use self::replay::{Replay, Replayed, Roads, replay};
use self::service::{Ended, Until, keep_on};
use self::source::Source;
use self::workers::{Decoders, read_files};
use crate::declaration::{Declarations, Topic};
use crate::error::Error;
use crate::outlive::Moved;
use crate::source::files;
use crate::source::watch::{Chosen, Watch};

/// How often a watched directory is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// When what has come is committed, whichever is first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows_max: usize,
    /// Bytes of messages.
    pub bytes_max: u64,
    /// Age of the oldest row.
    pub interval: Duration,
}

/// Where messages go, whatever road they come by.
#[derive(Debug)]
pub struct Destination {
    pub lake: Arc<Lake>,
    pub session: Session,
    pub declarations: Declarations,
    /// Directory of `queries/tables`, for messages.
    pub tables: PathBuf,
    pub zone: Tz,
    pub limits: Limits,
    /// Shared by all landings of the process.
    pub memory: MemoryBudget,
    pub counters: Counters,
}

/// A landing from export files.
#[derive(Debug)]
pub struct FileLanding<'a> {
    pub into: Destination,
    /// The topic that the files were exported from.
    pub topic: &'a str,
    /// A file, or a directory of files.
    pub place: Location,
    /// Whether to go on looking for new files after the present ones.
    pub watch: bool,
}

/// How far a landing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub files_done: usize,
    pub files_total: usize,
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Records of Kafka, or rows of PostgreSQL.
    pub records_done: u64,
    pub records_total: u64,
    /// Messages that became rows.
    pub landed: u64,
    /// Messages that became dead letters.
    pub refused: u64,
    /// Messages and dead letters that were in their tables already.
    pub skipped: u64,
    pub commits: u64,
}

impl Progress {
    /// What both did.
    fn and(&self, other: &Self) -> Self {
        Self {
            files_done: self.files_done + other.files_done,
            files_total: self.files_total + other.files_total,
            bytes_done: self.bytes_done + other.bytes_done,
            bytes_total: self.bytes_total + other.bytes_total,
            records_done: self.records_done + other.records_done,
            records_total: self.records_total + other.records_total,
            landed: self.landed + other.landed,
            refused: self.refused + other.refused,
            skipped: self.skipped + other.skipped,
            commits: self.commits + other.commits,
        }
    }
}

/// Lands export files until they are read, or for ever when they are watched; `shutdown` commits what is in
/// hand and ends it. `progress` hears of each block. A watching landing outlives a storage that is away.
///
/// # Errors
/// When no table is declared for the topic, there is nothing to read, or the storage fails. What was
/// committed before stays; a repeated landing skips it.
pub async fn from_files(
    files: FileLanding<'_>,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let topic = files.into.topic(files.topic)?;
    let until = if files.watch {
        Until::Stopped
    } else {
        Until::Landed
    };
    let attempt = async |_: &Moved, progress: &(dyn Fn(&Progress) + Sync)| {
        let done = land(&files, &topic, &shutdown, progress).await?;
        Ok(Ended::Done(done))
    };
    let counters = &files.into.counters;
    keep_on(until, &topic.name, counters, &shutdown, progress, attempt).await
}

async fn land(
    files: &FileLanding<'_>,
    topic: &Arc<Topic>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let mut watch = Watch::default();
    // Before anything is created: a mistyped path leaves no trace.
    let mut listing = files::list(&files.place).await?;
    if listing.files.is_empty() && !files.watch {
        return Err(Error::NoFiles {
            path: files.place.to_string(),
        });
    }
    let mut landing = Landing::open(&files.into, topic, Source::Files).await?;
    loop {
        watch.leave_out(&files.place, listing.unexpected);
        let chosen = if files.watch {
            watch.choose(listing.files)
        } else {
            listing.files.into_iter().map(Chosen::whole).collect()
        };
        if !chosen.is_empty() {
            landing.expect(&chosen);
            let (decoders, processed) = Decoders::start(topic).await?;
            let readers = read_files(decoders, &files.place, chosen, shutdown);
            landing.take(processed, progress).await?;
            let left = readers.finish().await?;
            watch.hold(left.held);
            watch.forget(&left.gone);
            landing.finish(progress).await?;
        }
        if !files.watch || shutdown.is_cancelled() {
            return Ok(landing.progress());
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(landing.progress()),
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        listing = files::list(&files.place).await?;
    }
}

impl Destination {
    /// What is declared of the topic called `name`.
    fn topic(&self, name: &str) -> Result<Arc<Topic>, Error> {
        let topic = self.declarations.topic(name, self.zone)?;
        let topic = topic.ok_or_else(|| Error::NoTables {
            topic: name.to_owned(),
            tables: self.tables.clone(),
        })?;
        Ok(Arc::new(topic))
    }
}
