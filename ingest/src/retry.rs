//! Restarts a service after transient failures: of the storage, of brokers or of a database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{Error, error_chain};

/// Seconds before each next attempt; the last one repeats.
const PAUSES_S: [u64; 5] = [1, 2, 5, 10, 30];

/// How far an attempt got before it failed.
#[derive(Debug, Default)]
pub(crate) struct AttemptState {
    made_progress: AtomicBool,
    authenticated: AtomicBool,
}

impl AttemptState {
    /// Records that the attempt has committed something: the pauses start again from the shortest.
    pub(crate) fn made_progress(&self) {
        self.made_progress.store(true, Ordering::Relaxed);
    }

    /// Records that the brokers have accepted our login, so that the configured one is not wrong.
    pub(crate) fn authenticated(&self) {
        self.authenticated.store(true, Ordering::Relaxed);
    }
}

/// Repeats `attempt` until it succeeds, fails permanently, or `shutdown` is cancelled. Each attempt
/// resumes from what is committed, so none loses or doubles messages. `failed` is called with the
/// text of each transient failure.
///
/// Authentication errors are permanent until the first successful login, transient afterwards: a
/// certificate may expire and be renewed while the service runs.
pub(crate) async fn retry_transient<T: Default>(
    shutdown: &CancellationToken,
    failed: &(dyn Fn(&str) + Sync),
    attempt: impl AsyncFn(&AttemptState) -> Result<T, Error>,
) -> Result<T, Error> {
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

    use super::{AttemptState, retry_transient};
    use crate::error::Error;
    use crate::source::kafka::LibrdkafkaMessage;

    #[tokio::test]
    async fn transient_error_is_retried_and_permanent_error_returned() {
        let (tries, heard) = (Cell::new(0), Mutex::new(Vec::new()));
        let gone = || Error::OffsetsOutOfRange { topic: "t".into() };
        let failed = |error: &str| heard.lock().expect("not poisoned").push(error.to_owned());
        let shutdown = CancellationToken::new();
        let ended = retry_transient(&shutdown, &failed, async |_| {
            tries.set(tries.get() + 1);
            match tries.get() {
                1 => Err(gone()),
                _ => Err::<(), _>(Error::TopicRecreated { topic: "t".into() }),
            }
        });
        assert!(matches!(ended.await, Err(Error::TopicRecreated { .. })));
        let heard = heard.into_inner().expect("not poisoned");
        assert_eq!((tries.get(), heard.len()), (2, 1));
        assert!(heard[0].contains("\"t\""), "{heard:?}");
    }

    #[tokio::test]
    async fn refused_login_is_retried_only_after_a_successful_one() {
        let refused = || Error::KafkaProtocol {
            broker: "kafka:9092".into(),
            protocol: "ssl",
            source: LibrdkafkaMessage::default(),
        };
        let (shutdown, heard) = (CancellationToken::new(), Mutex::new(0));
        let failed = |_: &str| {
            let mut heard = heard.lock().expect("not poisoned");
            *heard += 1;
            if *heard == 2 {
                shutdown.cancel();
            }
        };
        let never = retry_transient(&shutdown, &failed, async |_| Err::<(), _>(refused())).await;
        assert!(matches!(never, Err(Error::KafkaProtocol { .. })));
        let tries = Cell::new(0);
        let once = retry_transient(&shutdown, &failed, async |state: &AttemptState| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                state.authenticated();
            }
            Err::<(), _>(refused())
        });
        assert!(once.await.is_ok());
        assert_eq!((tries.get(), *heard.lock().expect("not poisoned")), (2, 2));
    }

    #[tokio::test]
    async fn shutdown_ends_the_pause() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let gone = || Error::OffsetsOutOfRange { topic: "t".into() };
        let ended = retry_transient(&shutdown, &|_| {}, async |_| Err::<u8, _>(gone()));
        assert!(matches!(ended.await, Ok(0)));
    }
}
