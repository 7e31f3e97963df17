//! How a service outlives what passes: a storage, brokers or a database that are away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{Error, told};

/// How long a service waits before it tries again, from the first time to the longest, in seconds.
const PAUSES_S: [u64; 5] = [1, 2, 5, 10, 30];

/// How far an attempt got before it failed.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    committed: AtomicBool,
    let_in: AtomicBool,
}

impl Moved {
    /// Remembers that something was committed; then the next attempt need not wait long.
    pub(crate) fn note(&self) {
        self.committed.store(true, Ordering::Relaxed);
    }

    /// Remembers that the brokers let us in; then what we were told cannot be all wrong.
    pub(crate) fn let_in(&self) {
        self.let_in.store(true, Ordering::Relaxed);
    }
}

/// Tries again and again, until an attempt ends by itself, fails for good, or `shutdown` is cancelled. Each one begins
/// anew from what is committed, so that nothing is lost or doubled in between. `failed` hears of each failure. Brokers
/// that refuse us are for good only as long as they have never let us in.
pub(crate) async fn outlive<T: Default>(
    shutdown: &CancellationToken,
    failed: &(dyn Fn(&str) + Sync),
    attempt: impl AsyncFn(&Moved) -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut pauses, mut was_let_in) = (PAUSES_S.into_iter(), false);
    loop {
        let moved = Moved::default();
        let ended = attempt(&moved).await;
        was_let_in |= moved.let_in.into_inner();
        let error = match ended {
            Err(error) if error.may_pass() || was_let_in && error.is_refusal() => error,
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
        if moved.committed.into_inner() {
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

    use super::{Moved, outlive};
    use crate::error::Error;
    use crate::source::kafka::Words;

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
    async fn who_was_let_in_once_waits_to_be_let_in_again() {
        let refused = || Error::KafkaProtocol {
            broker: "kafka:9092".into(),
            protocol: "ssl",
            source: Words::default(),
        };
        let (shutdown, heard) = (CancellationToken::new(), Mutex::new(0));
        let failed = |_: &str| {
            let mut heard = heard.lock().expect("not poisoned");
            *heard += 1;
            if *heard == 2 {
                shutdown.cancel();
            }
        };
        let never = outlive(&shutdown, &failed, async |_| Err::<(), _>(refused())).await;
        assert!(matches!(never, Err(Error::KafkaProtocol { .. })));
        let tries = Cell::new(0);
        let once = outlive(&shutdown, &failed, async |moved: &Moved| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                moved.let_in();
            }
            Err::<(), _>(refused())
        });
        assert!(once.await.is_ok());
        assert_eq!((tries.get(), *heard.lock().expect("not poisoned")), (2, 2));
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
