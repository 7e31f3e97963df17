//! Restarts a service after transient failures, as of a storage, of brokers or of a database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error_chain::error_chain;

/// An error whose kind decides whether a service tries again.
pub trait Retryable: std::error::Error {
    /// Whether the same attempt may succeed later, as of a server that restarts.
    fn is_transient(&self) -> bool;

    /// Whether a server has refused the login.
    fn is_refusal(&self) -> bool;
}

/// Seconds before each next attempt; the last one repeats.
const PAUSES_S: [u64; 5] = [1, 2, 5, 10, 30];

/// How far an attempt got before it failed.
#[derive(Debug, Default)]
pub struct AttemptState {
    made_progress: AtomicBool,
    authenticated: AtomicBool,
}

impl AttemptState {
    /// Records that the attempt has committed something: the pauses start again from the shortest.
    pub fn made_progress(&self) {
        self.made_progress.store(true, Ordering::Relaxed);
    }

    /// Records that a server has accepted our login, so that the configured one is not wrong.
    pub fn authenticated(&self) {
        self.authenticated.store(true, Ordering::Relaxed);
    }
}

/// Repeats `attempt` until it succeeds, fails permanently, or `shutdown` is cancelled. Each attempt
/// resumes from what is committed, so that repeating it is safe. `failed` is called with the
/// text of each transient failure.
///
/// Authentication errors are permanent until the first successful login, transient afterwards: a
/// certificate may expire and be renewed while the service runs.
pub async fn retry_transient<T: Default, E: Retryable>(
    shutdown: &CancellationToken,
    failed: &(dyn Fn(&str) + Sync),
    attempt: impl AsyncFn(&AttemptState) -> Result<T, E>,
) -> Result<T, E> {
    let (mut pauses, mut was_authenticated) = (PAUSES_S.into_iter(), false);
    loop {
        let state = AttemptState::default();
        let ended = attempt(&state).await;
        was_authenticated |= state.authenticated.into_inner();
        let error = match ended {
            Err(error) if error.is_transient() || was_authenticated && error.is_refusal() => error,
            ended => return ended,
        };
        if shutdown.is_cancelled() {
            let error = error_chain(&error);
            warn!(
                error,
                "stopped; the next start reads uncommitted messages again"
            );
            return Ok(T::default());
        }
        if state.made_progress.into_inner() {
            pauses = PAUSES_S.into_iter();
        }
        let longest = PAUSES_S[PAUSES_S.len() - 1];
        let pause = Duration::from_secs(pauses.next().unwrap_or(longest));
        let error = error_chain(&error);
        failed(&error);
        warn!(
            error,
            ?pause,
            "stopped, and will begin anew from what is committed"
        );
        tokio::select! {
            () = shutdown.cancelled() => return Ok(T::default()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use tokio_util::sync::CancellationToken;

    use super::{AttemptState, Retryable, retry_transient};

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("the server restarts")]
        Transient,
        #[error("there is no such topic")]
        Permanent,
        #[error("the login was refused")]
        Refused,
    }

    impl Retryable for Failure {
        fn is_transient(&self) -> bool {
            matches!(self, Self::Transient)
        }

        fn is_refusal(&self) -> bool {
            matches!(self, Self::Refused)
        }
    }

    #[tokio::test]
    async fn transient_error_is_retried_and_permanent_error_returned() {
        let (tries, heard) = (Cell::new(0), Mutex::new(Vec::new()));
        let failed = |error: &str| heard.lock().expect("not poisoned").push(error.to_owned());
        let shutdown = CancellationToken::new();
        let ended = retry_transient(&shutdown, &failed, async |_| {
            tries.set(tries.get() + 1);
            match tries.get() {
                1 => Err(Failure::Transient),
                _ => Err::<(), _>(Failure::Permanent),
            }
        });
        assert!(matches!(ended.await, Err(Failure::Permanent)));
        let heard = heard.into_inner().expect("not poisoned");
        assert_eq!((tries.get(), heard.len()), (2, 1));
        assert_eq!(heard[0], "the server restarts");
    }

    #[tokio::test]
    async fn refused_login_is_retried_only_after_a_successful_one() {
        let (shutdown, heard) = (CancellationToken::new(), Mutex::new(0));
        let failed = |_: &str| {
            let mut heard = heard.lock().expect("not poisoned");
            *heard += 1;
            if *heard == 2 {
                shutdown.cancel();
            }
        };
        let never =
            retry_transient(&shutdown, &failed, async |_| Err::<(), _>(Failure::Refused)).await;
        assert!(matches!(never, Err(Failure::Refused)));
        let tries = Cell::new(0);
        let once = retry_transient(&shutdown, &failed, async |state: &AttemptState| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                state.authenticated();
            }
            Err::<(), _>(Failure::Refused)
        });
        assert!(once.await.is_ok());
        assert_eq!((tries.get(), *heard.lock().expect("not poisoned")), (2, 2));
    }

    #[tokio::test]
    async fn shutdown_ends_the_pause() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let ended = retry_transient(&shutdown, &|_| {}, async |_| {
            Err::<u8, _>(Failure::Transient)
        });
        assert!(matches!(ended.await, Ok(0)));
    }
}
