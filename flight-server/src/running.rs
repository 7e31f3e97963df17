//! The statements that run now: how many may, which can be cancelled, and that all end before the process does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tracing::debug;

use crate::metrics::{Counters, Outcome};

/// All statements of the service that run.
#[derive(Debug)]
pub(crate) struct Running {
    slots: Arc<Semaphore>,
    queries_max: usize,
    entries: Mutex<Vec<Entry>>,
    next: AtomicU64,
    pub(crate) counters: Counters,
    /// Tasks that bring rows to clients.
    pub(crate) tasks: TaskTracker,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// Of the ticket; one ticket may run more than once.
    id: Bytes,
    token: CancellationToken,
}

/// One statement that runs. Dropped, it has ended.
#[derive(Debug)]
pub(crate) struct Query {
    running: Arc<Running>,
    number: u64,
    pub(crate) token: CancellationToken,
    pub(crate) started: Instant,
    /// What is recorded at the end; a client that goes away leaves no other word.
    pub(crate) outcome: Outcome,
    _slot: OwnedSemaphorePermit,
}

impl Running {
    pub(crate) fn new(queries_max: usize, counters: Counters) -> Arc<Self> {
        let queries_max = queries_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(queries_max)),
            queries_max,
            entries: Mutex::default(),
            next: AtomicU64::default(),
            counters,
            tasks: TaskTracker::new(),
        })
    }

    /// Takes a place for the run of ticket `id`, if one is free.
    pub(crate) fn begin(self: &Arc<Self>, id: Bytes) -> Result<Query, Status> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.counters.overloaded.inc();
            return Err(Status::resource_exhausted(format!(
                "{} statements run already (serve.queries_max); try again when one has ended",
                self.queries_max
            )));
        };
        let query = Query {
            running: Arc::clone(self),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            token: CancellationToken::new(),
            started: Instant::now(),
            outcome: Outcome::Cancelled,
            _slot: slot,
        };
        self.counters.running.inc();
        self.lock().push(Entry {
            number: query.number,
            id,
            token: query.token.clone(),
        });
        Ok(query)
    }

    /// Cancels the runs of ticket `id`; whether there were any.
    pub(crate) fn cancel(&self, id: &[u8]) -> bool {
        let entries = self.lock();
        let found = entries.iter().filter(|entry| entry.id == id);
        found.map(|entry| entry.token.cancel()).count() > 0
    }

    /// Cancels all that runs; how many there were.
    pub(crate) fn cancel_all(&self) -> usize {
        let entries = self.lock();
        entries.iter().map(|entry| entry.token.cancel()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Query {
    pub(crate) fn counters(&self) -> &Counters {
        &self.running.counters
    }

    /// Where the task that sends its rows belongs.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.running.tasks.clone()
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        let mut entries = self.running.lock();
        entries.retain(|entry| entry.number != self.number);
        drop(entries);
        let elapsed = self.started.elapsed();
        // In this order, so that who sees that nothing runs any more finds the outcomes counted.
        self.running.counters.ended(self.outcome, elapsed);
        self.running.counters.running.dec();
        debug!(outcome = self.outcome.as_str(), ?elapsed, "statement ended");
    }
}

#[cfg(test)]
mod tests {
    use engine::metrics::Metrics;

    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_statement_has_ended() {
        let metrics = Metrics::new("0");
        let running = Running::new(2, Counters::register(&metrics));
        let id = Bytes::from_static(b"id");
        let mut first = running.begin(id.clone()).expect("a free place");
        let second = running.begin(id.clone()).expect("a free place");
        let refused = running.begin(id.clone()).expect_err("no place");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(running.cancel(&id) && first.token.is_cancelled());
        assert!(second.token.is_cancelled());
        first.outcome = Outcome::Ok;
        drop((first, second));
        assert!(!running.cancel(&id));
        assert!(running.begin(id).is_ok());
        let text = metrics.text().expect("a text");
        for line in [
            "isobar_queries_total{outcome=\"ok\"} 1",
            "isobar_queries_running 0",
            "isobar_queries_overloaded_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
