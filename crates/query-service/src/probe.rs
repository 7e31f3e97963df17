//! Checks that statements are answered: runs `SELECT 1` at an interval on the threads of small
//! statements.
//!
//! A service whose connections are open and whose storage answers may still compute nothing.
//! Readiness reports that to a load balancer. Liveness does not, since a restart would end running
//! statements.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::session::Session;
use engine::sql;
use futures::FutureExt as _;
use service::readiness::Readiness;
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Failures in a row that make the service not ready: a single late answer only means load.
const FAILURES_MAX: u32 = 3;

/// The outcome of the last checks, for [`Readiness`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    /// Failures since the last answer in time.
    failures: Arc<AtomicU32>,
}

impl Probe {
    /// Runs the checks on `queries` until `stopped`.
    pub(crate) async fn run(&self, session: Session, queries: Handle, stopped: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stopped.cancelled() => return,
            }
            let work = queries.spawn(select_one(session.clone()));
            let answer = tokio::time::timeout(TIMEOUT, AbortOnDropHandle::new(work)).await;
            self.record(matches!(answer, Ok(Ok(true))));
        }
    }

    fn record(&self, is_answered: bool) {
        if is_answered {
            if self.failures.swap(0, Ordering::Relaxed) >= FAILURES_MAX {
                info!("statements are answered again");
            }
        } else if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILURES_MAX {
            warn!("SELECT 1 was not answered within {TIMEOUT:?} three times in a row; not ready");
        }
    }

    /// Ready when statements are answered and `other` is ready.
    pub(crate) fn and(&self, other: Readiness) -> Readiness {
        let probe = self.clone();
        Arc::new(move || {
            let failures = probe.failures.load(Ordering::Relaxed);
            if failures < FAILURES_MAX {
                return other();
            }
            let reason = format!(
                "SELECT 1 was not answered within {} s, {failures} times in a row",
                TIMEOUT.as_secs()
            );
            std::future::ready(Err(reason)).boxed()
        })
    }
}

async fn select_one(session: Session) -> bool {
    let Ok(statement) = sql::parse_one("SELECT 1", "readiness") else {
        return false;
    };
    let Ok(frame) = Box::pin(session.query(&statement)).await else {
        return false;
    };
    Box::pin(frame.collect()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn probe_is_not_ready_after_three_failures_in_a_row() {
        let probe = Probe::default();
        let ready = probe.and(Arc::new(|| std::future::ready(Ok(())).boxed()));
        for (is_answered, is_ready) in [
            (false, true),
            (false, true),
            (true, true),
            (false, true),
            (false, true),
            (false, false),
            (false, false),
            (true, true),
        ] {
            probe.record(is_answered);
            assert_eq!(ready().await.is_ok(), is_ready);
        }
        let other = probe.and(Arc::new(|| {
            std::future::ready(Err("no storage".to_owned())).boxed()
        }));
        assert_eq!(other().await, Err("no storage".to_owned()));
    }
}
