//! Landing from export files, once or watching a directory.

use std::sync::Arc;
use std::time::Duration;

use lake::Location;
use service::retry::AttemptState;
use tokio_util::sync::CancellationToken;

use crate::declaration::TopicDeclaration;
use crate::error::Error;
use crate::land::coordinator::LandingCoordinator;
use crate::land::sources::landing_source::LandingSource;
use crate::land::sources::run_until::{AttemptOutcome, StopCondition, run_until};
use crate::land::workers::{Decoders, read_files};
use crate::land::{Destination, Progress};
use crate::source::files;
use crate::source::watch::{SelectedFile, Watch};

/// How often the landing lists a watched directory.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// A landing from export files.
#[derive(Debug)]
pub struct FileLanding<'a> {
    /// Where the messages go.
    pub into: Destination,
    /// The topic that the files were exported from.
    pub topic: &'a str,
    /// A file, or a directory of files.
    pub place: Location,
    /// Whether to keep looking for new files once the present ones have landed.
    pub watch: bool,
}

/// Lands export files until all are read, or until `shutdown` when the directory is watched. On
/// `shutdown` the landing commits its buffer and ends. It calls `progress` after each block. A
/// watching landing retries while the storage is unavailable.
///
/// # Errors
/// When no table is declared for the topic, there is nothing to read, or the storage fails. Earlier
/// commits stay, and a repeated landing skips their messages.
pub async fn from_files(
    files: FileLanding<'_>,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let topic = files.into.topic(files.topic)?;
    let stop = if files.watch {
        StopCondition::Shutdown
    } else {
        StopCondition::SourceExhausted
    };
    let attempt = async |_: &AttemptState, progress: &(dyn Fn(&Progress) + Sync)| {
        let done = land(&files, &topic, &shutdown, progress).await?;
        Ok(AttemptOutcome::Done(done))
    };
    let counters = &files.into.counters;
    run_until(stop, &topic.name, counters, &shutdown, progress, attempt).await
}

async fn land(
    files: &FileLanding<'_>,
    topic: &Arc<TopicDeclaration>,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let mut watch = Watch::default();
    // Listed before any table is created, so that a mistyped path creates none.
    let mut listing = files::list(&files.place).await?;
    if listing.files.is_empty() && !files.watch {
        return Err(Error::NoFiles {
            path: files.place.to_string(),
        });
    }
    let mut coordinator =
        LandingCoordinator::open(&files.into, topic, LandingSource::Files).await?;
    loop {
        watch.warn_unexpected(&files.place, listing.unexpected);
        let chosen = if files.watch {
            watch.choose(listing.files)
        } else {
            listing.files.into_iter().map(SelectedFile::whole).collect()
        };
        if !chosen.is_empty() {
            coordinator.expect_files(&chosen);
            let (decoders, processed) = Decoders::start(topic).await?;
            let readers = read_files(decoders, &files.place, chosen, shutdown);
            coordinator.run(processed, progress).await?;
            let left = readers.finish().await?;
            watch.mark_incomplete(left.incomplete);
            watch.forget(&left.vanished);
            coordinator.finish(progress).await?;
        }
        if !files.watch || shutdown.is_cancelled() {
            return Ok(coordinator.progress());
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(coordinator.progress()),
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        listing = files::list(&files.place).await?;
    }
}
