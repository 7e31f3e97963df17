//! SIGINT and SIGTERM: the first asks the command to finish, the second leaves at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Coming;
use tokio_util::sync::CancellationToken;

use crate::failure::Interrupted;

/// Work that can be dropped is given this long to notice; a plan may compute for minutes without
/// looking up.
const GRACE: Duration = Duration::from_secs(2);

/// What the process heard of signals. Clones hear the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// Cancelled by the next signal.
    current: Arc<Mutex<CancellationToken>>,
    /// Whether what runs now changes nothing half-way.
    droppable: Arc<AtomicBool>,
}

impl Signals {
    /// Starts to listen, until the process ends; on a thread of its own, since queries may keep
    /// every worker busy.
    pub(crate) fn watch() -> std::io::Result<Self> {
        let signals = Self::default();
        let mut coming = Coming::new([SIGINT, SIGTERM])?;
        let heard = signals.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || coming.forever().for_each(|_| heard.hear()))?;
        Ok(signals)
    }

    fn hear(&self) {
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

    /// Cancelled by the first signal.
    pub(crate) fn token(&self) -> CancellationToken {
        self.lock().clone()
    }

    pub(crate) fn received(&self) -> bool {
        self.lock().is_cancelled()
    }

    /// Forgets the signals heard so far: where Ctrl-C ends a statement and not the session.
    pub(crate) fn forget(&self) {
        *self.lock() = CancellationToken::new();
    }

    /// Runs `work` until it is done or a signal comes; then it is dropped. For work that changes
    /// nothing half-way.
    pub(crate) async fn interrupting<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let token = self.token();
        self.droppable.store(true, Ordering::Release);
        let done = tokio::select! {
            done = work => done,
            () = token.cancelled() => Err(Interrupted.into()),
        };
        self.droppable.store(false, Ordering::Release);
        done
    }

    /// Runs `work`, which finishes what it has in hand after a signal, and drops it `deadline` after that: `key` sets it. For
    /// work that may end anywhere, and is begun anew by the next start.
    pub(crate) async fn finishing<T>(
        &self,
        key: &'static str,
        deadline: Duration,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let token = self.token();
        let late = async {
            token.cancelled().await;
            tokio::time::sleep(deadline).await;
        };
        tokio::select! {
            done = work => done,
            () = late => bail!(
                "what was in hand was not finished within {} of the signal ({key}); the next start takes again what of it is not committed",
                humantime::format_duration(deadline)
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CancellationToken> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
