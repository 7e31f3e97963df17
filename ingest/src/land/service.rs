//! How long a landing goes on, from whatever source.

use tokio_util::sync::CancellationToken;

use super::Progress;
use super::metrics::Counters;
use crate::error::Error;
use crate::outlive::{Moved, outlive};

/// Whether a landing ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// When what was there at the beginning has landed.
    Landed,
    /// When it is told to.
    Stopped,
}

/// How reading came to its end.
pub(crate) enum Ended {
    /// There is nothing more to read, or nobody wants it.
    Done(Progress),
    /// The topic has got partitions that are not read. All that was read is committed.
    Grown,
}

/// Makes attempts at landing, each from what is committed: one, or as many as it takes to outlive a server that is away.
/// A source that has grown is begun anew.
pub(crate) async fn keep_on(
    until: Until,
    topic: &str,
    counters: &Counters,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
    attempt: impl AsyncFn(&Moved, &(dyn Fn(&Progress) + Sync)) -> Result<Ended, Error>,
) -> Result<Progress, Error> {
    let land = async |moved: &Moved| {
        // Hears of progress, and notes when something was committed.
        let progress = |now: &Progress| {
            if now.commits > 0 {
                moved.note();
            }
            progress(now);
        };
        loop {
            if let Ended::Done(done) = attempt(moved, &progress).await? {
                return Ok(done);
            }
        }
    };
    match until {
        Until::Landed => land(&Moved::default()).await,
        Until::Stopped => {
            let restarted = |_: &str| counters.restarted(topic);
            outlive(shutdown, &restarted, land).await
        }
    }
}
