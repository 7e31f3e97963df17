//! Several topics side by side: each lands for itself, and what stops one leaves the others alone.

use std::sync::{Mutex, PoisonError};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tracing::error;

use super::Progress;
use super::metrics::Counters;
use crate::error::{Error, told};
use crate::health::Health;

/// What all landings did by now, of which each tells for itself.
pub(super) struct Together<'a> {
    each: Mutex<Vec<Progress>>,
    tell: &'a (dyn Fn(&Progress) + Sync),
}

impl<'a> Together<'a> {
    pub(super) fn new(landings: usize, tell: &'a (dyn Fn(&Progress) + Sync)) -> Self {
        Self {
            each: Mutex::new(vec![Progress::default(); landings]),
            tell,
        }
    }

    /// The landing with this number is so far.
    pub(super) fn hear(&self, number: usize, progress: &Progress) {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        each[number] = *progress;
        let sum = each
            .iter()
            .fold(Progress::default(), |sum, one| sum.and(one));
        (self.tell)(&sum);
    }
}

/// Waits until the landings of all `topics` have ended. One that fails says so at once and is shown as stopped.
///
/// # Errors
/// When any has failed: of several topics that some have, of one what it was.
pub(super) async fn all(
    topics: &[&str],
    landings: impl Iterator<Item = impl Future<Output = Result<Progress, Error>>>,
    counters: &Counters,
    health: &Health,
) -> Result<Progress, Error> {
    let numbered = landings.enumerate();
    let mut running: FuturesUnordered<_> = numbered
        .map(|(number, landing)| async move { (number, landing.await) })
        .collect();
    for topic in topics {
        counters.show_stopped(topic, false);
    }
    health.well();
    let mut sum = Progress::default();
    let (mut first, mut stopped) = (None, Vec::new());
    while let Some((number, ended)) = running.next().await {
        let failure = match ended {
            Ok(done) => {
                sum = sum.and(&done);
                continue;
            }
            Err(failure) if topics.len() == 1 => return Err(failure),
            Err(failure) => failure,
        };
        let (topic, why) = (topics[number], told(&failure));
        counters.show_stopped(topic, true);
        error!(topic, why, "stopped; other topics go on");
        stopped.push(format!(
            "the landing of topic \"{topic}\" has stopped: {why}"
        ));
        health.ill(&stopped.join("; "));
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

    use super::{Counters, Health, Progress, Together, all};
    use crate::error::Error;

    fn landed(landed: u64) -> Progress {
        Progress {
            landed,
            ..Progress::default()
        }
    }

    fn recreated(topic: &str) -> Error {
        Error::TopicRecreated {
            topic: topic.to_owned(),
        }
    }

    #[tokio::test]
    async fn what_stops_one_topic_is_told_at_the_end_and_leaves_the_others_alone() {
        let health = Health::default();
        let landings = [Err(recreated("a")), Ok(landed(7)), Err(recreated("c"))];
        let landings = landings.into_iter().map(ready);
        let ended = all(&["a", "b", "c"], landings, &Counters::default(), &health).await;
        let Err(Error::Topics {
            stopped: 2,
            topics: 3,
            ..
        }) = ended
        else {
            panic!("{ended:?}");
        };
        let ill = health.check().expect_err("two have stopped");
        assert!(ill.contains("\"a\"") && ill.contains("\"c\""), "{ill}");
    }

    #[tokio::test]
    async fn the_one_topic_fails_as_itself() {
        let landings = [Err(recreated("a"))].into_iter().map(ready);
        let health = Health::default();
        let ended = all(&["a"], landings, &Counters::default(), &health).await;
        assert!(matches!(ended, Err(Error::TopicRecreated { .. })));
    }

    #[tokio::test]
    async fn what_all_did_is_told() {
        let heard = std::sync::Mutex::new(0);
        let tell = |progress: &Progress| *heard.lock().expect("not poisoned") = progress.landed;
        let together = Together::new(2, &tell);
        for (number, count) in [(0, 5), (1, 2), (0, 6)] {
            together.hear(number, &landed(count));
        }
        assert_eq!(*heard.lock().expect("not poisoned"), 8);
        let landings = [Ok(landed(6)), Ok(landed(2))].into_iter().map(ready);
        let counters = Counters::default();
        let ended = all(&["a", "b"], landings, &counters, &Health::default()).await;
        assert_eq!(ended.expect("all landed"), landed(8));
    }
}
