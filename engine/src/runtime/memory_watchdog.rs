//! Ends the statement that holds most memory while the process holds too much.
//!
//! The pool refuses what operators report. This is for what they do not report: without it one
//! `array_agg` over long texts takes the machine's memory, and the kernel ends the process with all
//! its statements.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use allocations::{Account, Counted};
use tokio_util::sync::CancellationToken;
use tracing::{Span, warn};

use super::machine;
use crate::column_cache::ColumnCache;
use crate::error::Error;

/// Interval of the checks. A statement allocates one or two GiB a second at most.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long the tasks of a statement may take to free a few GiB after its end.
const SETTLING: Duration = Duration::from_secs(2);

/// Grace period for an ended statement before the watchdog picks a second one.
const ENDING: Duration = Duration::from_secs(10);
/// A statement that holds less than this share of the limit is never ended: the memory is in caches
/// or in a running step.
const SMALL_SHARE: u64 = 32;

#[derive(Debug)]
pub(super) struct MemoryWatchdog {
    limit: u64,
    column_cache: Arc<ColumnCache>,
    watched: Mutex<Watched>,
    /// Notified when a statement begins, and at the end.
    changed: Condvar,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Watched {
    statements: Vec<WatchedEntry>,
    /// When the last statement that the watchdog ended was dropped.
    last_ended: Option<Instant>,
    is_stopped: bool,
}

#[derive(Debug)]
struct WatchedEntry {
    number: u64,
    account: Account,
    /// The span of the statement's log lines.
    span: Span,
    exceeded: CancellationToken,
    /// When the watchdog ended it; its tasks may run a little longer.
    end_requested: Option<Instant>,
}

/// A statement whose memory is counted. Dropped, it has ended.
#[derive(Debug)]
pub struct WatchedStatement {
    watchdog: Arc<MemoryWatchdog>,
    number: u64,
    account: Account,
    exceeded: CancellationToken,
}

impl MemoryWatchdog {
    /// A watchdog that lets the process hold `limit` bytes, with its thread. Before it ends a
    /// statement it empties the cache.
    pub(super) fn start(limit: u64, column_cache: &Arc<ColumnCache>) -> std::io::Result<Arc<Self>> {
        allocations::follow_tasks();
        let watchdog = Arc::new(Self {
            limit,
            column_cache: Arc::clone(column_cache),
            watched: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU64::default(),
        });
        let of_thread = Arc::clone(&watchdog);
        std::thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || of_thread.run())?;
        Ok(watchdog)
    }

    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn watch(self: &Arc<Self>) -> WatchedStatement {
        let statement = WatchedStatement {
            watchdog: Arc::clone(self),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            account: Account::new(self.limit),
            exceeded: CancellationToken::new(),
        };
        self.lock().statements.push(WatchedEntry {
            number: statement.number,
            account: statement.account.clone(),
            span: Span::current(),
            exceeded: statement.exceeded.clone(),
            end_requested: None,
        });
        self.changed.notify_all();
        statement
    }

    fn run(&self) {
        let mut before = 0;
        loop {
            let idle = |watched: &mut Watched| watched.statements.is_empty() && !watched.is_stopped;
            let watched = self.changed.wait_while(self.lock(), idle);
            if watched.unwrap_or_else(PoisonError::into_inner).is_stopped {
                return;
            }
            std::thread::sleep(INTERVAL);
            let resident = machine::resident_above(self.limit, &self.column_cache);
            match resident {
                Some(resident) if resident > before || !self.is_settling() => {
                    self.end_largest(resident);
                }
                Some(_) | None => {}
            }
            before = resident.unwrap_or(0);
        }
    }

    /// Whether tasks of a statement that has ended may still be freeing their memory.
    fn is_settling(&self) -> bool {
        let ended = self.lock().last_ended;
        ended.is_some_and(|ended| ended.elapsed() < SETTLING)
    }

    /// Ends the statement that holds most, unless one is ending: its memory is free only when it
    /// has ended.
    fn end_largest(&self, resident: u64) {
        let mut watched = self.lock();
        let mut running = watched.statements.iter();
        if running.any(|statement| {
            statement
                .end_requested
                .is_some_and(|end_requested| end_requested.elapsed() < ENDING)
        }) {
            return;
        }
        let statements = watched.statements.iter_mut();
        let candidates = statements
            .filter(|statement| statement.end_requested.is_none())
            .filter(|statement| statement.account.held() > self.limit / SMALL_SHARE);
        if let Some(largest) = candidates.max_by_key(|statement| statement.account.held()) {
            let (held, limit) = (largest.account.held(), self.limit);
            largest.span.in_scope(|| {
                warn!(held, resident, limit, "statement ended for its memory");
            });
            largest.end_requested = Some(Instant::now());
            largest.account.exceed();
            largest.exceeded.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchedStatement {
    /// The future with all that it allocates counted as this statement's.
    pub fn count<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        Counted::new(self.account.clone(), Box::pin(work))
    }

    /// Ends the functions of this statement that compute for long in one step: its client has its
    /// answer.
    pub fn end(&self) {
        self.account.end();
    }

    /// Waits until this statement has to end, and returns the reason. The caller then drops its
    /// work.
    pub async fn exceeded(&self) -> Error {
        self.exceeded.cancelled().await;
        self.account.refusal().into()
    }
}

impl Drop for WatchedStatement {
    fn drop(&mut self) {
        self.end();
        let mut watched = self.watchdog.lock();
        watched
            .statements
            .retain(|entry| entry.number != self.number);
        if self.exceeded.is_cancelled() {
            watched.last_ended = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocations::charge;

    #[tokio::test]
    async fn largest_statement_is_ended_and_others_go_on() {
        let watchdog = MemoryWatchdog::start(1 << 20, &Arc::new(ColumnCache::new(0))).unwrap();
        let [small, large] = [watchdog.watch(), watchdog.watch()];
        small.count(async { charge(1 << 20) }).await;
        large.count(async { charge(5 << 20) }).await;
        // The process of the test holds more than the limit.
        let refusal = large.exceeded().await.to_string();
        assert!(refusal.contains("5MiB"), "{refusal}");
        // As long as it has not ended, no other is.
        tokio::time::sleep(4 * INTERVAL).await;
        assert!(!small.exceeded.is_cancelled());
        drop(large);
        small.exceeded().await;
        watchdog.stop();
    }
}
