//! How a service outlives what passes: a storage or brokers that are away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Counters, Progress};
use crate::error::{Error, told};

/// How long a service waits before it tries again, from the first time to the longest, in seconds.
const PAUSES_S: [u64; 5] = [1, 2, 5, 10, 30];

/// Tries `land` again and again, until it ends by itself, fails for good, or `shutdown` is cancelled. Each time it begins
/// anew from what its tables say, so that nothing is lost or doubled in between.
pub(crate) async fn outlive(
    shutdown: &CancellationToken,
    counters: &Counters,
    progress: &(dyn Fn(&Progress) + Sync),
    land: impl AsyncFn(&(dyn Fn(&Progress) + Sync)) -> Result<Progress, Error>,
) -> Result<Progress, Error> {
    let mut pauses = PAUSES_S.into_iter();
    loop {
        let moved = AtomicBool::new(false);
        let watched = |now: &Progress| {
            moved.fetch_or(now.commits > 0, Ordering::Relaxed);
            progress(now);
        };
        let error = match land(&watched).await {
            Err(error) if error.may_pass() => error,
            ended => return ended,
        };
        if moved.into_inner() {
            pauses = PAUSES_S.into_iter();
        }
        let longest = PAUSES_S[PAUSES_S.len() - 1];
        let pause = Duration::from_secs(pauses.next().unwrap_or(longest));
        warn!(
            error = told(&error),
            ?pause,
            "the landing stopped, and will begin anew from what its tables say"
        );
        counters.restarts.inc();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(Progress::default()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
