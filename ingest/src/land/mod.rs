//! Landing: messages become rows of the tables that their topic declares, each exactly once.
//!
//! Workers read and decode blocks in parallel. One coordinator, `LandingCoordinator`, applies the
//! rows in order: it skips those that a table already holds, stages the others as data files in
//! flush batches, and commits them by size or by age.

mod commit;
mod coordinator;
mod decode;
mod dedup;
mod metrics;
mod replay;
mod source_progress;
mod sources;
pub(crate) mod transform;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use engine::session::Session;
use lake::Lake;

pub use self::commit::memory_budget::MemoryBudget;
pub use self::metrics::LandingCounters;
pub use self::replay::{Replay, ReplaySources, Replayed, replay};
pub use self::sources::from_files::{FileLanding, from_files};
pub use self::sources::from_kafka::{KafkaLanding, from_kafka};
pub use self::sources::from_postgres::{PostgresLanding, from_postgres};
use crate::declaration::{Declarations, TopicDeclaration};
use crate::error::Error;

/// When a landing commits: when its oldest row is old enough, or when all landings together reach a
/// limit of which it holds its share.
#[derive(Clone, Copy, Debug)]
pub struct CommitLimits {
    /// Rows of all topics together that wait for a commit.
    pub rows_max: usize,
    /// Bytes of the messages of all topics together that wait for a commit.
    pub bytes_max: u64,
    /// Age of the oldest row of a topic.
    pub interval: Duration,
}

/// Where messages go, the same for every source.
#[derive(Debug)]
pub struct Destination {
    /// The lake whose tables take the rows.
    pub lake: Arc<Lake>,
    /// Plans and runs the declared SQL, and reads what the tables hold.
    pub session: Session,
    /// The declared topics and their tables.
    pub declarations: Declarations,
    /// Path of the directory that has the table files, named in error messages.
    pub tables: PathBuf,
    /// Time zone of the days that tables are partitioned by.
    pub zone: Tz,
    /// When rows are committed.
    pub limits: CommitLimits,
    /// Shared by all landings of the process.
    pub memory: MemoryBudget,
    /// Metrics of the landings.
    pub counters: LandingCounters,
}

/// What a landing has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Export files read to their end.
    pub files_done: usize,
    /// Export files found.
    pub files_total: usize,
    /// Bytes of messages decoded and applied.
    pub bytes_done: u64,
    /// Bytes of the export files found.
    pub bytes_total: u64,
    /// Records of Kafka, or rows of PostgreSQL, decoded and applied.
    pub records_done: u64,
    /// Records of Kafka, or rows of PostgreSQL, that were there when reading began.
    pub records_total: u64,
    /// Messages that became rows.
    pub landed: u64,
    /// Messages that became dead letters.
    pub refused: u64,
    /// Messages and dead letters that were in their tables already.
    pub skipped: u64,
    /// Commits, each to all tables of a topic that have something new.
    pub commits: u64,
}

impl Progress {
    /// The sum of two.
    fn plus(&self, other: &Self) -> Self {
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

impl Destination {
    /// The declaration of the topic called `name`.
    fn topic(&self, name: &str) -> Result<Arc<TopicDeclaration>, Error> {
        let topic = self.declarations.topic(name, self.zone)?;
        let topic = topic.ok_or_else(|| Error::NoTables {
            topic: name.to_owned(),
            tables: self.tables.clone(),
        })?;
        Ok(Arc::new(topic))
    }
}
