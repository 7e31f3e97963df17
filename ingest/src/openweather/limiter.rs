//! Keeps a client below its plan's calls per minute.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The server counts when a call arrives, we when it starts: one second covers the difference.
const WINDOW: Duration = Duration::from_secs(61);

/// Lets at most `calls_per_minute` calls start in any window of a minute, without spacing them out,
/// so that a single city need not wait.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    calls_per_minute: Option<NonZeroU32>,
    /// A std mutex, because nothing awaits inside it.
    state: Mutex<State>,
}

/// No call may start for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) left: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// When the latest calls started or will start, oldest first; never more than a minute's worth.
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

    /// Returns when a call may start. Calls start in the order in which they asked.
    ///
    /// # Errors
    /// Gives up when every call is held for longer than `patience`.
    pub(crate) async fn acquire(&self, patience: Duration) -> Result<(), Held> {
        loop {
            let left = self.held_for(Instant::now());
            if left > patience {
                return Err(Held { left });
            }
            sleep_until(self.reserve(Instant::now())).await;
            // A hold that came while we slept sends us to the end of the queue.
            if self.held_for(Instant::now()).is_zero() {
                return Ok(());
            }
        }
    }

    /// Lets no call start for `pause`: after a refusal every further call would be refused as well.
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

    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
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
    fn a_minutes_worth_starts_at_once_and_the_rest_waits() {
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
    fn no_window_holds_more_calls_than_allowed() {
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
    fn a_hold_stops_every_call_also_those_that_already_wait() {
        let limiter = RateLimiter::new(NonZeroU32::new(1));
        let now = Instant::now();
        limiter.reserve(now);
        let waiting_until = limiter.reserve(now);
        limiter.hold(WINDOW + Duration::from_secs(30));
        assert!(!limiter.held_for(waiting_until).is_zero());
        assert!(limiter.reserve(waiting_until) >= now + WINDOW + Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_long_hold_is_an_answer_and_a_short_one_is_waited_for() {
        let ms = Duration::from_millis;
        for (hold, patience, is_waited_for) in [(20, 1_000, true), (60_000, 1_000, false)] {
            let limiter = RateLimiter::new(None);
            limiter.hold(ms(hold));
            let (begun, found) = (Instant::now(), limiter.acquire(ms(patience)).await);
            assert_eq!(found.is_ok(), is_waited_for, "{hold}");
            if is_waited_for {
                assert!(begun.elapsed() >= ms(hold), "{hold}");
            }
        }
    }
}
