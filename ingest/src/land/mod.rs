//! Landing: messages become rows of the tables that their topic declares, each exactly once.
//!
//! Blocks of lines are read and decoded side by side. One coordinator, `Landing`, takes the rows, leaves out
//! those whose message a table has already, and commits them when enough have come or enough time has passed.

mod coordinator;
mod dead_letters;
mod decode;
mod event_time;
mod landed;
pub(crate) mod transform;
mod workers;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use engine::lake::{Lake, Location};
use engine::session::Session;
use tokio_util::sync::CancellationToken;

use self::coordinator::Landing;
use self::workers::Workers;
use crate::declaration::Declarations;
use crate::error::Error;
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

/// A landing from export files.
#[derive(Debug)]
pub struct FileLanding<'a> {
    pub lake: &'a Arc<Lake>,
    pub session: &'a Session,
    pub declarations: &'a Declarations,
    /// Directory of `queries/tables`, for messages.
    pub tables: &'a std::path::Path,
    /// The topic that the files were exported from.
    pub topic: &'a str,
    pub zone: Tz,
    /// A file, or a directory of files.
    pub place: Location,
    pub limits: Limits,
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
    /// Messages that became rows.
    pub landed: u64,
    /// Messages that became dead letters.
    pub refused: u64,
    /// Messages and dead letters that were in their tables already.
    pub skipped: u64,
    pub commits: u64,
}

/// Lands export files until they are read, or for ever when they are watched; `shutdown` commits what is in
/// hand and ends it. `progress` hears of each block.
///
/// # Errors
/// When no table is declared for the topic, there is nothing to read, or the storage fails. What was
/// committed before stays; a repeated landing skips it.
pub async fn from_files(
    files: FileLanding<'_>,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let topic = files.declarations.topic(files.topic, files.zone)?;
    let topic = Arc::new(topic.ok_or_else(|| Error::NoTables {
        topic: files.topic.to_owned(),
        tables: files.tables.to_owned(),
    })?);
    let mut watch = Watch::default();
    // Before anything is created: a mistyped path leaves no trace.
    let mut found = files::list(&files.place).await?;
    if found.is_empty() && !files.watch {
        return Err(Error::NoFiles {
            path: files.place.to_string(),
        });
    }
    let mut landing = Landing::open(files.lake, files.session, &topic, files.limits).await?;
    loop {
        let chosen = if files.watch {
            watch.choose(found)
        } else {
            found.into_iter().map(Chosen::whole).collect()
        };
        if !chosen.is_empty() {
            landing.expect(&chosen);
            let (workers, processed) =
                Workers::start(&topic, &files.place, chosen, &shutdown).await?;
            landing.take(processed, progress).await?;
            watch.hold(workers.finish().await?);
            landing.finish(progress).await?;
        }
        if !files.watch || shutdown.is_cancelled() {
            return Ok(landing.progress());
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(landing.progress()),
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        found = files::list(&files.place).await?;
    }
}
