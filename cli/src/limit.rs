//! A limit of time for what a command computes.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::Instant;

/// When something has to be done, if there is a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    key: &'static str,
    limit: Option<Duration>,
    started: Instant,
}

impl Limit {
    /// From now on; `key` sets it.
    pub(crate) fn new(key: &'static str, limit: Option<Duration>) -> Self {
        Self {
            key,
            limit,
            started: Instant::now(),
        }
    }

    /// Waits for `work` as long as there is time.
    ///
    /// What computes must do so in a task of its own: an operator that does not yield would keep the timer from
    /// being looked at.
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
