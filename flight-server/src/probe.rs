//! Whether statements are answered: `SELECT 1`, asked again and again on the threads that small statements run on.
//!
//! A service whose connections are open and whose storage answers may still compute nothing for anybody. Readiness tells
//! who balances load; liveness does not ask, since a start anew would end the statements that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::session::Session;
use engine::sql;
use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::http::Readiness;

const EVERY: Duration = Duration::from_secs(5);
const WITHIN: Duration = Duration::from_secs(1);
/// One late answer is a busy moment.
const FAILURES_MAX: u32 = 3;

/// How the last answers came, for those who ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    /// Failures since the last answer.
    failures: Arc<AtomicU32>,
}

impl Probe {
    /// Asks on `queries` until `ended`.
    pub(crate) async fn run(&self, session: Session, queries: Handle, ended: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ended.cancelled() => return,
            }
            let work = queries.spawn(select_one(session.clone()));
            let asked = tokio::time::timeout(WITHIN, AbortOnDropHandle::new(work)).await;
            self.record(matches!(asked, Ok(Ok(true))));
        }
    }

    fn record(&self, is_answered: bool) {
        if is_answered {
            if self.failures.swap(0, Ordering::Relaxed) >= FAILURES_MAX {
                info!("statements are answered again");
            }
        } else if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILURES_MAX {
            warn!("SELECT 1 was not answered within {WITHIN:?} three times in a row; not ready");
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
                WITHIN.as_secs()
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
    async fn three_failures_in_a_row_are_not_ready_and_an_answer_is() {
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
