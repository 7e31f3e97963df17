//! How a service outlives what passes: a storage, brokers or a database that are away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{Error, told};

/// How long a service waits before it tries again, from the first time to the longest, in seconds.
const PAUSES_S: [u64; 5] = [1, 2, 5, 10, 30];

/// Whether an attempt got anywhere before it failed; then the next one need not wait long.
#[derive(Debug, Default)]
pub(crate) struct Moved(AtomicBool);

impl Moved {
    /// Remembers that something was committed.
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tries again and again, until an attempt ends by itself, fails for good, or `shutdown` is cancelled. Each one begins
/// anew from what is committed, so that nothing is lost or doubled in between. `failed` hears of each failure.
pub(crate) async fn outlive<T: Default>(
    shutdown: &CancellationToken,
    failed: &(dyn Fn(&str) + Sync),
    attempt: impl AsyncFn(&Moved) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut pauses = PAUSES_S.into_iter();
    loop {
        let moved = Moved::default();
        let error = match attempt(&moved).await {
            Err(error) if error.may_pass() => error,
            ended => return ended,
        };
        if shutdown.is_cancelled() {
            let error = told(&error);
            warn!(
                error,
                "stopped; what was in hand is not committed, and the next start takes it again"
            );
            return Ok(T::default());
        }
        if moved.0.into_inner() {
            pauses = PAUSES_S.into_iter();
        }
        let longest = PAUSES_S[PAUSES_S.len() - 1];
        let pause = Duration::from_secs(pauses.next().unwrap_or(longest));
        let error = told(&error);
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

    use super::outlive;
    use crate::error::Error;

    #[tokio::test]
    async fn what_passes_is_outlived_and_the_rest_ends_it() {
        let (tries, heard) = (Cell::new(0), Mutex::new(Vec::new()));
        let gone = || Error::OffsetsGone { topic: "t".into() };
        let failed = |error: &str| heard.lock().expect("not poisoned").push(error.to_owned());
        let shutdown = CancellationToken::new();
        let ended = outlive(&shutdown, &failed, async |_| {
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
    async fn a_signal_ends_the_pause() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let gone = || Error::OffsetsGone { topic: "t".into() };
        let ended = outlive(&shutdown, &|_| {}, async |_| Err::<u8, _>(gone()));
        assert!(matches!(ended.await, Ok(0)));
    }
}
