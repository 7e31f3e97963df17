//! Runs a landing until its source is exhausted, or for as long as the service runs: the one policy
//! of what follows an attempt.
//!
//! | an attempt ends with | then |
//! | --- | --- |
//! | everything read, or a shutdown | the landing has ended |
//! | new partitions of the topic | another attempt at once, which reads them too |
//! | a gap in the offsets, for the first time | another attempt at once, since another landing may have filled it |
//! | the same gap again | the landing fails: messages are lost |
//! | a transient error, under [`StopCondition::Shutdown`] | another attempt after a pause, see [`retry_transient`] |
//! | any other error | the landing fails |

use service::retry::{AttemptState, retry_transient};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

use crate::error::Error;
use crate::land::Progress;
use crate::land::metrics::LandingCounters;

/// Attempts in a row that may each end at another gap. Every one of them means that another landing
/// has committed meanwhile, so that more are a fight of two landings.
const GAPS_MAX: usize = 10;

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

/// Runs `attempt` until `stop`. Each attempt resumes from what is committed. Log lines of the
/// landing have `topic` in their span.
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
        until_done(async || attempt(state, &progress).await).await
    };
    let landing = async {
        match stop {
            StopCondition::SourceExhausted => land(&AttemptState::default()).await,
            StopCondition::Shutdown => {
                let restarted = |_: &str| counters.restarted(topic);
                retry_transient(shutdown, &restarted, land).await
            }
        }
    };
    landing.instrument(info_span!("landing", topic)).await
}

/// Repeats `attempt` at once for as long as what ended it may be gone by then.
///
/// A gap may be gone: another process may commit its offsets between our read of the tables and our
/// read of Kafka's low watermark. Only a gap that two attempts in a row meet is data loss.
async fn until_done(
    attempt: impl AsyncFn() -> Result<AttemptOutcome, Error>,
) -> Result<Progress, Error> {
    let (mut met, mut gaps) = (None, 0);
    loop {
        match attempt().await {
            Ok(AttemptOutcome::Done(done)) => return Ok(done),
            Ok(AttemptOutcome::PartitionsAdded) => (met, gaps) = (None, 0),
            Err(error) => {
                let gap = gap_of(&error);
                gaps += 1;
                if gap.is_none() || gap == met || gaps == GAPS_MAX {
                    return Err(error);
                }
                met = gap;
            }
        }
    }
}

/// Topic partition and offset of the gap that `error` reports.
fn gap_of(error: &Error) -> Option<(i32, i64)> {
    match error {
        Error::Connections(
            connections::Error::OffsetsLost {
                partition, next, ..
            }
            | connections::Error::OffsetsBeyond {
                partition, next, ..
            },
        ) => Some((*partition, *next)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{AttemptOutcome, GAPS_MAX, gap_of, until_done};
    use crate::error::Error;
    use crate::land::Progress;

    type Ended = Result<AttemptOutcome, Error>;

    fn done() -> Ended {
        Ok(AttemptOutcome::Done(Progress::default()))
    }

    fn lost(next: i64) -> Ended {
        let lost = connections::Error::OffsetsLost {
            topic: "t".to_owned(),
            partition: 0,
            next,
            low: 100,
        };
        Err(lost.into())
    }

    fn beyond(next: i64) -> Ended {
        let beyond = connections::Error::OffsetsBeyond {
            topic: "t".to_owned(),
            partition: 0,
            next,
            high: 1,
        };
        Err(beyond.into())
    }

    /// The offset at which a landing fails that makes these attempts, all of them.
    async fn fails_at(attempts: Vec<Ended>) -> Option<i64> {
        let attempts = RefCell::new(attempts.into_iter());
        let next = async || attempts.borrow_mut().next().expect("no more attempts");
        let ended = until_done(next).await;
        assert!(attempts.into_inner().next().is_none(), "one too few");
        let failure = ended.err();
        failure.map(|error| gap_of(&error).map_or(0, |(_, offset)| offset))
    }

    #[tokio::test]
    async fn data_loss_is_reported_when_two_attempts_see_the_same_gap() {
        assert_eq!(fails_at(vec![done()]).await, None);
        assert_eq!(fails_at(vec![lost(5), done()]).await, None);
        let filled = vec![lost(5), lost(9), beyond(200), done()];
        assert_eq!(fails_at(filled).await, None);
        assert_eq!(fails_at(vec![lost(5), lost(5)]).await, Some(5));
        assert_eq!(fails_at(vec![beyond(5), lost(7), lost(7)]).await, Some(7));
        let other = connections::Error::OffsetsOutOfRange {
            topic: "t".to_owned(),
        };
        assert_eq!(fails_at(vec![Err(other.into())]).await, Some(0));
    }

    #[tokio::test]
    async fn attempt_after_new_partitions_confirms_no_gap_of_an_earlier_one() {
        let added = Ok(AttemptOutcome::PartitionsAdded);
        assert_eq!(fails_at(vec![lost(5), added, lost(5), done()]).await, None);
    }

    #[tokio::test]
    async fn landing_that_meets_another_gap_each_time_fails_at_last() {
        let most = i64::try_from(GAPS_MAX).expect("small");
        assert_eq!(fails_at((1..=most).map(lost).collect()).await, Some(most));
    }
}
