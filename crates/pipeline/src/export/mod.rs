//! Exporting: rows of table `weather` in PostgreSQL become lines of files, each once, in the
//! directory of their day.
//!
//! The cursor is a set of offsets and not a time. The database records the name and the rows of a
//! file before the file is written, so that a start after a crash writes the same file again.

mod counters;
mod cursor;
mod legacy;
mod line;
mod ranges;

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use connections::postgres::PostgresOptions;
use lake::{Failure, Location};
use service::error_chain;
use service::fail;
use service::readiness::ReadinessState;
use service::retry::{AttemptState, Retryable as _, retry_transient};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use self::counters::ExportCounters;
use self::cursor::{Cursor, ExportLines};
use crate::error::Error;

/// Limit of the time for which an export with `once` waits for an unavailable storage.
const STORAGE_WAIT_MAX: Duration = Duration::from_secs(300);
/// Pause between two attempts meanwhile.
const STORAGE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// An export of a topic's rows.
#[derive(Debug)]
pub struct Export {
    /// Server, database and login.
    pub postgres: PostgresOptions,
    /// The topic whose rows are exported.
    pub topic: String,
    /// The directory with the `dt=` directories.
    pub into: Location,
    /// Time zone of the days.
    pub zone: Tz,
    /// Size of one export.
    pub limits: ExportLimits,
    /// Time between two exports.
    pub interval: Duration,
    /// Whether to end when all present rows are exported.
    pub once: bool,
}

/// Size of one export.
#[derive(Clone, Copy, Debug)]
pub struct ExportLimits {
    /// Rows of one export.
    pub rows_max: usize,
    /// Bytes of the messages of one export.
    pub bytes_max: u64,
}

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Rows written.
    pub rows: u64,
    /// Files written.
    pub files: u64,
}

impl std::ops::AddAssign for Exported {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.files += other.files;
    }
}

/// Exports once, or every `interval` until `shutdown`, which finishes the files that are begun.
///
/// Without `once` it retries while the database or the storage is unavailable. With `once` it
/// waits for the storage for a limited time.
///
/// # Errors
/// When the database refuses the login, or the storage denies access; with `once` also when they
/// fail.
pub async fn export(
    export: Export,
    shutdown: CancellationToken,
    counters: &ExportCounters,
    health: &ReadinessState,
) -> Result<Exported, Error> {
    let mut sum = Exported::default();
    if export.once {
        let waiting = export.retry_storage(&shutdown, counters, health);
        sum += waiting.await?;
        return Ok(sum);
    }
    let failed = |why: &str| {
        health.set_not_ready(why);
        counters.retries.inc();
    };
    loop {
        let attempt = async |state: &AttemptState| {
            export.export_all(&shutdown, state, counters, health).await
        };
        sum += retry_transient(&shutdown, &failed, attempt).await?;
        tokio::select! {
            () = shutdown.cancelled() => return Ok(sum),
            () = tokio::time::sleep(export.interval) => {}
        }
    }
}

/// The result of one export, and its newest event time.
type Next = (Exported, Option<DateTime<Utc>>);

impl Export {
    async fn retry_storage(
        &self,
        shutdown: &CancellationToken,
        counters: &ExportCounters,
        health: &ReadinessState,
    ) -> Result<Exported, Error> {
        let began = Instant::now();
        loop {
            let state = AttemptState::default();
            let error = match self.export_all(shutdown, &state, counters, health).await {
                Err(error) if error.is_transient() && Failure::find(&error).is_some() => error,
                ended => return ended,
            };
            if began.elapsed() > STORAGE_WAIT_MAX {
                return Err(error);
            }
            warn!(error = error_chain(&error), "waiting for the storage");
            tokio::select! {
                () = shutdown.cancelled() => return Ok(Exported::default()),
                () = tokio::time::sleep(STORAGE_RETRY_INTERVAL) => {}
            }
        }
    }

    /// Exports all present rows.
    async fn export_all(
        &self,
        shutdown: &CancellationToken,
        state: &AttemptState,
        counters: &ExportCounters,
        health: &ReadinessState,
    ) -> Result<Exported, Error> {
        // Checked before the database records an export.
        self.into.directories().await?;
        let mut cursor = Cursor::open(&self.postgres, &self.topic).await?;
        cursor.migrate_legacy_files(&self.into).await?;
        match cursor.open_rows().await {
            Ok(rows) => counters.set_backlog(rows),
            // Only a metric depends on it.
            Err(error) => debug!(
                error = error_chain(&error),
                "could not count the rows to export"
            ),
        }
        let mut done = Exported::default();
        while !shutdown.is_cancelled() {
            let next = self.export_next(&mut cursor).await?;
            health.set_ready();
            let Some((exported, newest)) = next else {
                break;
            };
            state.made_progress();
            counters.exported(&exported, newest);
            done += exported;
        }
        Ok(done)
    }

    /// Finishes the recorded export if there is one, else starts the next one. None when all rows
    /// are exported.
    async fn export_next(&self, cursor: &mut Cursor) -> Result<Option<Next>, Error> {
        let (pending, is_new) = match cursor.pending().await? {
            Some(pending) => (pending, false),
            None => match cursor.begin(self.zone, self.limits).await? {
                Some(pending) => (pending, true),
                None => return Ok(None),
            },
        };
        let lines = cursor.lines(pending.zone).await?;
        if is_new && self.name_exists(&lines, &pending.file).await? {
            cursor.discard().await?;
            return Ok(Some(Next::default()));
        }
        let exported = Exported {
            rows: lines.rows,
            files: lines.by_day.len() as u64,
        };
        let newest = lines.newest;
        fail::point("export.begun");
        for (day, lines) in lines.by_day {
            let file = self.into.join(&format!("dt={day}")).join(&pending.file);
            file.replace(Bytes::from(lines)).await?;
            fail::point("export.written");
        }
        cursor.finish().await?;
        fail::point("export.finished");
        info!(
            rows = exported.rows,
            files = exported.files,
            name = pending.file,
            "exported"
        );
        Ok(Some((exported, newest)))
    }

    /// Whether another file has this name already: after the clock was set back, a name may repeat.
    async fn name_exists(&self, lines: &ExportLines, name: &str) -> Result<bool, Error> {
        for day in lines.by_day.keys() {
            let file = self.into.join(&format!("dt={day}")).join(name);
            if file.head().await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
