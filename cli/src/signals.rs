//! SIGINT and SIGTERM: the first asks the command to finish, the second leaves at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Interrupted;

/// What the process heard of signals. Clones hear the same.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// Cancelled by the next signal.
    current: Arc<Mutex<CancellationToken>>,
}

impl Signals {
    /// Starts to listen, until the process ends.
    pub(crate) fn watch() -> std::io::Result<Self> {
        let signals = Self {
            current: Arc::default(),
        };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let heard = signals.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                let token = heard.token();
                if token.is_cancelled() {
                    std::process::exit(130);
                }
                token.cancel();
            }
        });
        Ok(signals)
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
        tokio::select! {
            done = work => done,
            () = token.cancelled() => Err(Interrupted.into()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CancellationToken> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
