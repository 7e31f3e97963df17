//! Runs a landing until its source is exhausted, or for as long as the service runs.

use service::retry::{AttemptState, retry_transient};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::land::Progress;
use crate::land::metrics::LandingCounters;

/// When a landing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopCondition {
    /// When everything that the source held at the start has landed, or at the first error.
    SourceExhausted,
    /// On shutdown, or at an error that is not transient.
    Shutdown,
}

/// How an attempt at landing ended without an error.
pub(crate) enum AttemptOutcome {
    /// The source has nothing more to read, or `shutdown` was cancelled.
    Done(Progress),
    /// The topic has new partitions, which this attempt does not read. Everything that it read is
    /// committed.
    PartitionsAdded,
}

/// Runs `attempt` until `stop`. Each attempt resumes from what is committed; one that ends with
/// [`AttemptOutcome::PartitionsAdded`] is followed by the next one at once.
pub(crate) async fn run_until(
    stop: StopCondition,
    topic: &str,
    counters: &LandingCounters,
    shutdown: &CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
    attempt: impl AsyncFn(&AttemptState, &(dyn Fn(&Progress) + Sync)) -> Result<AttemptOutcome, Error>,
) -> Result<Progress, Error> {
    let land = async |state: &AttemptState| {
        let progress = |now: &Progress| {
            if now.commits > 0 {
                state.made_progress();
            }
            progress(now);
        };
        loop {
            if let AttemptOutcome::Done(done) = attempt(state, &progress).await? {
                return Ok(done);
            }
        }
    };
    match stop {
        StopCondition::SourceExhausted => land(&AttemptState::default()).await,
        StopCondition::Shutdown => {
            let restarted = |_: &str| counters.restarted(topic);
            retry_transient(shutdown, &restarted, land).await
        }
    }
}
