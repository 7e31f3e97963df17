//! SIGINT and SIGTERM: the first asks the command to finish, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as SignalIterator;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Interrupted};

/// Time after a signal until the process ends although dropped work still computes: an operator may
/// compute for minutes without yielding.
const GRACE: Duration = Duration::from_secs(2);

/// The signals that the process received. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Cancelled by the next signal.
    current: Arc<Mutex<CancellationToken>>,
    /// Whether the running work may be dropped at any moment.
    droppable: Arc<AtomicBool>,
}

impl Signals {
    /// Watches for signals until the process ends, on a thread of its own, since statements may
    /// keep every worker of the runtime busy.
    pub fn watch() -> std::io::Result<Self> {
        let signals = Self::default();
        let mut incoming = SignalIterator::new([SIGINT, SIGTERM])?;
        let watcher = signals.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || incoming.forever().for_each(|_| watcher.on_signal()))?;
        Ok(signals)
    }

    fn on_signal(&self) {
        let token = self.token();
        if token.is_cancelled() {
            std::process::exit(130);
        }
        token.cancel();
        let signals = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            if signals.received() && signals.droppable.load(Ordering::Acquire) {
                std::process::exit(130);
            }
        });
    }

    /// A token that the next signal cancels.
    pub fn token(&self) -> CancellationToken {
        self.lock().clone()
    }

    pub fn received(&self) -> bool {
        self.lock().is_cancelled()
    }

    /// Forgets earlier signals, where Ctrl-C ends a statement and not the shell.
    pub fn reset(&self) {
        *self.lock() = CancellationToken::new();
    }

    /// Runs `work`, and drops it on a signal. For work that may be dropped at any moment.
    pub async fn run_until_signal<T, E: From<Interrupted>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let token = self.token();
        self.droppable.store(true, Ordering::Release);
        let done = tokio::select! {
            done = work => done,
            () = token.cancelled() => Err(Interrupted.into()),
        };
        self.droppable.store(false, Ordering::Release);
        done
    }

    /// Runs `work`, which finishes its current batch after a signal, and drops it `deadline` after
    /// the signal. `key` of the configuration sets the deadline. For work that may stop at any
    /// point, because the next start repeats what is not committed.
    pub async fn run_until_deadline<T, E: From<Error>>(
        &self,
        key: &'static str,
        deadline: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let token = self.token();
        let deadline_passed = async {
            token.cancelled().await;
            tokio::time::sleep(deadline).await;
        };
        tokio::select! {
            done = work => done,
            () = deadline_passed => Err(Error::DeadlinePassed { key, deadline }.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CancellationToken> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
