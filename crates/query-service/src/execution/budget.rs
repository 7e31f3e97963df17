//! The time budget of a statement, over all requests of the client for it.
//!
//! Drivers send up to three requests for a statement: they prepare it, describe it and execute it.
//! With a limit on each request the client would wait three times as long, so the time spent is
//! recorded in the statement. Time between requests is not counted.

use std::time::{Duration, Instant};

use crate::error::Error;

/// The rest of the time limit, for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    limit: Duration,
    /// Time that earlier requests for the same statement took.
    spent: Duration,
    started: Instant,
}

impl Budget {
    /// For a request that starts now; earlier ones have `spent` of `limit`.
    pub(crate) fn new(limit: Duration, spent: Duration) -> Self {
        Self {
            limit,
            spent,
            started: Instant::now(),
        }
    }

    /// When the budget is spent.
    pub(crate) fn deadline(&self) -> tokio::time::Instant {
        (self.started + self.limit.saturating_sub(self.spent)).into()
    }

    /// Time that this request and the earlier ones took.
    pub(crate) fn spent(&self) -> Duration {
        self.spent + self.started.elapsed()
    }

    /// Waits for `work` until the deadline.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let done = tokio::time::timeout_at(self.deadline(), work).await;
        done.unwrap_or_else(|_elapsed| Err(self.exhausted()))
    }

    /// The error of a statement that exceeds the limit.
    pub(crate) fn exhausted(&self) -> Error {
        Error::TimedOut { limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::ErrorCode;

    const LIMIT: Duration = Duration::from_secs(3_600);

    #[test]
    fn later_requests_get_the_rest_of_the_limit() {
        let check = |spent: Duration, left: Duration| {
            let budget = Budget::new(LIMIT, spent);
            let deadline = budget.deadline().into_std();
            assert_eq!(deadline, budget.started + left);
            assert!(budget.spent() >= spent);
        };
        check(Duration::ZERO, LIMIT);
        check(LIMIT / 4, LIMIT * 3 / 4);
        check(LIMIT * 2, Duration::ZERO);
    }

    #[tokio::test]
    async fn request_without_time_left_fails_with_the_limit() {
        let spent = Budget::new(LIMIT, LIMIT);
        let refused = spent.within(std::future::pending::<Result<(), Error>>());
        let refused = refused.await.expect_err("no time is left");
        assert_eq!(refused.code(), ErrorCode::DeadlineExceeded);
        let refused = refused.to_string();
        assert!(refused.contains("serve.query_timeout"), "{refused}");
        let fresh = Budget::new(LIMIT, Duration::ZERO);
        assert_eq!(fresh.within(async { Ok(7) }).await.ok(), Some(7));
    }
}
