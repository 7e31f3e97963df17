//! Lands several topics in parallel. An error stops its own topic only.

use std::sync::{Mutex, PoisonError};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use service::error_chain;
use service::readiness::ReadinessState;
use tracing::error;

use crate::error::Error;
use crate::land::Progress;
use crate::land::metrics::LandingCounters;

/// The sum of the progress of all landings.
pub(crate) struct AggregateProgress<'a> {
    /// By number of the landing.
    each: Mutex<Vec<Progress>>,
    /// Called with the sum after each report.
    report: &'a (dyn Fn(&Progress) + Sync),
}

impl<'a> AggregateProgress<'a> {
    pub(crate) fn new(landings: usize, report: &'a (dyn Fn(&Progress) + Sync)) -> Self {
        Self {
            each: Mutex::new(vec![Progress::default(); landings]),
            report,
        }
    }

    /// Reports the progress of the landing with this number.
    pub(crate) fn report(&self, number: usize, progress: &Progress) {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        each[number] = *progress;
        let sum = each
            .iter()
            .fold(Progress::default(), |sum, one| sum.plus(one));
        (self.report)(&sum);
    }
}

/// Waits until the landings of all `topics` have ended. The failure of one of several topics is
/// logged at once, and makes the process not ready.
///
/// # Errors
/// When any landing has failed: [`Error::Topics`] if there are several, else its own error.
pub(crate) async fn land_all(
    topics: &[&str],
    landings: impl Iterator<Item = impl Future<Output = Result<Progress, Error>>>,
    counters: &LandingCounters,
    health: &ReadinessState,
) -> Result<Progress, Error> {
    let numbered = landings.enumerate();
    let mut running: FuturesUnordered<_> = numbered
        .map(|(number, landing)| async move { (number, landing.await) })
        .collect();
    for topic in topics {
        counters.show_stopped(topic, false);
    }
    health.set_ready();
    let mut sum = Progress::default();
    let (mut first, mut stopped) = (None, Vec::new());
    while let Some((number, ended)) = running.next().await {
        let failure = match ended {
            Ok(done) => {
                sum = sum.plus(&done);
                continue;
            }
            Err(failure) if topics.len() == 1 => return Err(failure),
            Err(failure) => failure,
        };
        let (topic, why) = (topics[number], error_chain(&failure));
        counters.show_stopped(topic, true);
        error!(topic, why, "stopped; other topics go on");
        stopped.push(format!(
            "the landing of topic \"{topic}\" has stopped: {why}"
        ));
        health.set_not_ready(&stopped.join("; "));
        first.get_or_insert(failure);
    }
    match first {
        None => Ok(sum),
        Some(first) => Err(Error::Topics {
            stopped: stopped.len(),
            topics: topics.len(),
            source: Box::new(first),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::{AggregateProgress, LandingCounters, Progress, ReadinessState, land_all};
    use crate::error::Error;

    fn landed(landed: u64) -> Progress {
        Progress {
            landed,
            ..Progress::default()
        }
    }

    fn recreated(topic: &str) -> Error {
        connections::Error::TopicRecreated {
            topic: topic.to_owned(),
        }
        .into()
    }

    #[tokio::test]
    async fn failed_topics_are_returned_after_the_others_have_ended() {
        let health = ReadinessState::default();
        let landings = [Err(recreated("a")), Ok(landed(7)), Err(recreated("c"))];
        let landings = landings.into_iter().map(ready);
        let ended = land_all(
            &["a", "b", "c"],
            landings,
            &LandingCounters::default(),
            &health,
        )
        .await;
        let Err(Error::Topics {
            stopped: 2,
            topics: 3,
            ..
        }) = ended
        else {
            panic!("{ended:?}");
        };
        let reason = health.check().expect_err("two have stopped");
        assert!(
            reason.contains("\"a\"") && reason.contains("\"c\""),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn single_topic_returns_its_own_error() {
        let landings = [Err(recreated("a"))].into_iter().map(ready);
        let health = ReadinessState::default();
        let ended = land_all(&["a"], landings, &LandingCounters::default(), &health).await;
        assert!(matches!(
            ended,
            Err(Error::Connections(
                connections::Error::TopicRecreated { .. }
            ))
        ));
    }

    #[tokio::test]
    async fn progress_of_all_topics_is_summed() {
        let reported = std::sync::Mutex::new(0);
        let report =
            |progress: &Progress| *reported.lock().expect("not poisoned") = progress.landed;
        let aggregate = AggregateProgress::new(2, &report);
        for (number, count) in [(0, 5), (1, 2), (0, 6)] {
            aggregate.report(number, &landed(count));
        }
        assert_eq!(*reported.lock().expect("not poisoned"), 8);
        let landings = [Ok(landed(6)), Ok(landed(2))].into_iter().map(ready);
        let counters = LandingCounters::default();
        let ended = land_all(&["a", "b"], landings, &counters, &ReadinessState::default()).await;
        assert_eq!(ended.expect("all landed"), landed(8));
    }
}
