//! Keeps a client below the calls per minute of its plan.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The server counts calls at arrival, and the limiter at their start: one more second covers the
/// difference.
const WINDOW: Duration = Duration::from_secs(61);

/// Lets at most `calls_per_minute` calls start in any window of a minute. It does not space them
/// out, so that the calls for a single city need not wait.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    calls_per_minute: Option<NonZeroU32>,
    /// A blocking mutex: it is never held across an await.
    state: Mutex<LimiterState>,
}

/// The time for which no call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimitHold {
    /// Time until the next call may start.
    pub(crate) left: Duration,
}

#[derive(Debug, Default)]
struct LimiterState {
    /// Start times of the latest calls, also future ones, oldest first: at most the calls of one
    /// minute.
    starts: VecDeque<Instant>,
    held_until: Option<Instant>,
}

impl RateLimiter {
    pub(crate) fn new(calls_per_minute: Option<NonZeroU32>) -> Self {
        Self {
            calls_per_minute,
            state: Mutex::default(),
        }
    }

    /// Waits until a call may start. Calls start in the order of their requests.
    ///
    /// # Errors
    /// When the server has asked for a pause that lasts longer than `wait_max`.
    pub(crate) async fn acquire(&self, wait_max: Duration) -> Result<(), RateLimitHold> {
        loop {
            let left = self.held_for(Instant::now());
            if left > wait_max {
                return Err(RateLimitHold { left });
            }
            sleep_until(self.reserve(Instant::now())).await;
            // After a hold that began during the sleep, this call queues again.
            if self.held_for(Instant::now()).is_zero() {
                return Ok(());
            }
        }
    }

    /// Lets no call start for `pause`: after a refusal the server would refuse every call.
    pub(crate) fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause;
        self.with_state(|state| state.held_until = state.held_until.max(Some(until)));
    }

    fn reserve(&self, now: Instant) -> Instant {
        self.with_state(|state| {
            let mut at = state.held_until.map_or(now, |until| until.max(now));
            if let Some(calls_max) = self.calls_per_minute {
                if state.starts.len() == calls_max.get() as usize {
                    let oldest = state.starts.pop_front();
                    at = oldest.map_or(at, |oldest| at.max(oldest + WINDOW));
                }
                state.starts.push_back(at);
            }
            at
        })
    }

    fn held_for(&self, now: Instant) -> Duration {
        let until = self.with_state(|state| state.held_until);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut LimiterState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{RateLimiter, WINDOW};

    #[test]
    fn calls_of_one_minute_start_at_once_and_later_ones_wait() {
        let check = |calls_per_minute: u32, windows: &[u32]| {
            let limiter = RateLimiter::new(NonZeroU32::new(calls_per_minute));
            let now = Instant::now();
            for (call, windows) in windows.iter().enumerate() {
                let expected = now + WINDOW * *windows;
                assert_eq!(limiter.reserve(now), expected, "{calls_per_minute}: {call}");
            }
        };
        check(0, &[0; 7]); // none: unlimited
        check(3, &[0, 0, 0, 1, 1, 1, 2]);
        check(1, &[0, 1, 2]);
    }

    #[test]
    fn window_of_a_minute_has_at_most_the_allowed_calls() {
        let limiter = RateLimiter::new(NonZeroU32::new(4));
        let mut now = Instant::now();
        let mut starts = Vec::new();
        for step in 0..40_u64 {
            now += Duration::from_secs(step * 7 % 23);
            now = limiter.reserve(now);
            starts.push(now);
        }
        for five in starts.windows(5) {
            assert!(five[4] - five[0] >= Duration::from_secs(60), "{five:?}");
        }
    }

    #[test]
    fn hold_also_delays_waiting_calls() {
        let limiter = RateLimiter::new(NonZeroU32::new(1));
        let now = Instant::now();
        limiter.reserve(now);
        let waiting_until = limiter.reserve(now);
        limiter.hold(WINDOW + Duration::from_secs(30));
        assert!(!limiter.held_for(waiting_until).is_zero());
        assert!(limiter.reserve(waiting_until) >= now + WINDOW + Duration::from_secs(30));
    }

    #[tokio::test]
    async fn acquire_waits_for_short_hold_and_fails_at_long_one() {
        let ms = Duration::from_millis;
        for (hold, wait_max, is_waited_for) in [(20, 1_000, true), (60_000, 1_000, false)] {
            let limiter = RateLimiter::new(None);
            limiter.hold(ms(hold));
            let (begun, found) = (Instant::now(), limiter.acquire(ms(wait_max)).await);
            assert_eq!(found.is_ok(), is_waited_for, "{hold}");
            if is_waited_for {
                assert!(begun.elapsed() >= ms(hold), "{hold}");
            }
        }
    }
}
