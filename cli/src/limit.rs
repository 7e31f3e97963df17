//! The time limit of a computation.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::Instant;

/// A time limit that starts when it is created; without a limit, it never ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    key: &'static str,
    limit: Option<Duration>,
    started: Instant,
}

impl Limit {
    /// Starts the limit, which `key` of the configuration sets.
    pub(crate) fn new(key: &'static str, limit: Option<Duration>) -> Self {
        Self {
            key,
            limit,
            started: Instant::now(),
        }
    }

    /// Waits for `work` until the limit.
    ///
    /// `work` must wait for another task that computes: an operator that does not yield would keep
    /// this task from polling the timer.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        let Some(limit) = self.limit else {
            return Ok(work.await);
        };
        let done = tokio::time::timeout_at(self.started + limit, work).await;
        done.map_err(|_elapsed| {
            let limit = humantime::format_duration(limit);
            anyhow!("not done within {limit} ({})", self.key)
        })
    }
}
