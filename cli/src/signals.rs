//! SIGINT and SIGTERM: the first asks the command to finish, the second leaves at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(guard);
        let heard = signals.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(heard.listen(interrupt, terminate)))?;
        Ok(signals)
    }

    async fn listen(self, mut interrupt: Signal, mut terminate: Signal) {
        loop {
            // Only a signal that came before and was not forgotten has a limit.
            let is_overdue = self.received() && self.droppable.load(Ordering::Acquire);
            let limit = if is_overdue { GRACE } else { Duration::MAX };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = tokio::time::sleep(limit) => {
                    if self.received() && self.droppable.load(Ordering::Acquire) {
                        std::process::exit(130);
                    }
                    continue;
                }
            }
            if self.received() {
                std::process::exit(130);
            }
            self.token().cancel();
        }
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

    fn lock(&self) -> MutexGuard<'_, CancellationToken> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
