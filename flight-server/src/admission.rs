//! Admission: limits how many statements run, finds those to cancel, and tracks all until shutdown.
//!
//! With `serve.queries_max` of 8 or more, one place in eight is reserved for statements that the planner estimates to be
//! small, so that a look at a table is answered while large ones have taken all others. A place is free when its statement has really ended, which is later than
//! the client's answer if a function or a join computes that cannot be interrupted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use engine::estimate::StatementSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tracing::debug;

use crate::metrics::{Counters, Outcome};

/// All statements of the service that run.
#[derive(Debug)]
pub(crate) struct Running {
    places: Arc<Semaphore>,
    /// A second permit for large statements; there are fewer of these, so some places stay free for small ones.
    large: Arc<Semaphore>,
    /// Statements that are planned without being run.
    planning: Arc<Semaphore>,
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
    place: Place,
    large: Option<OwnedSemaphorePermit>,
}

/// A place among the statements that run, taken until the last holder is gone.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// One of this many places is reserved for small statements.
const PLACES_PER_RESERVED: usize = 8;

impl Running {
    pub(crate) fn new(queries_max: usize, counters: Counters) -> Arc<Self> {
        let queries_max = queries_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(queries_max)),
            large: Arc::new(Semaphore::new(large_max(queries_max))),
            planning: Arc::new(Semaphore::new(queries_max)),
            queries_max,
            entries: Mutex::default(),
            next: AtomicU64::default(),
            counters,
            tasks: TaskTracker::new(),
        })
    }

    /// Takes a place for the run of ticket `id`, if one is free.
    pub(crate) fn begin(self: &Arc<Self>, id: Bytes) -> Result<Query, Status> {
        let place = self.take(&self.places, || {
            format!("{} statements run already", self.queries_max)
        })?;
        let query = Query {
            running: Arc::clone(self),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            token: CancellationToken::new(),
            started: Instant::now(),
            outcome: Outcome::Cancelled,
            place: Place {
                _permit: Arc::new(place),
            },
            large: None,
        };
        self.counters.running.inc();
        self.lock().push(Entry {
            number: query.number,
            id,
            token: query.token.clone(),
        });
        Ok(query)
    }

    /// Takes a place for planning a statement that will not run yet.
    pub(crate) fn begin_planning(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.take(&self.planning, || {
            format!("{} statements are being planned", self.queries_max)
        })
    }

    fn take(
        &self,
        semaphore: &Arc<Semaphore>,
        reason: impl FnOnce() -> String,
    ) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(semaphore).try_acquire_owned().map_err(|_none| {
            self.counters.overloaded.inc();
            Status::resource_exhausted(format!(
                "{} (serve.queries_max); try again when one has ended",
                reason()
            ))
        })
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

fn large_max(queries_max: usize) -> usize {
    queries_max - queries_max / PLACES_PER_RESERVED
}

impl Query {
    /// Its place, for work that may outlive it.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Admits a planned statement. A large one needs a permit for large statements.
    pub(crate) fn admit(&mut self, size: StatementSize) -> Result<(), Status> {
        if size == StatementSize::Small {
            return Ok(());
        }
        let running = Arc::clone(&self.running);
        let large = running.take(&running.large, || {
            let large = large_max(running.queries_max);
            format!("{large} statements that read or join many rows run already, and the places left are kept for small ones")
        })?;
        self.large = Some(large);
        Ok(())
    }

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
    #[test]
    fn last_places_are_kept_for_small_statements() {
        let running = Running::new(9, Counters::register(&Metrics::new("0")));
        let mut queries: Vec<_> = (0..9)
            .map(|_| running.begin(Bytes::new()).expect("a free place"))
            .collect();
        for query in &mut queries[..8] {
            query
                .admit(StatementSize::Large)
                .expect("a place for a large statement");
        }
        let refused = queries[8]
            .admit(StatementSize::Large)
            .expect_err("kept for small ones");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("kept for small"), "{refused}");
        queries[8]
            .admit(StatementSize::Small)
            .expect("a place for a small one");
        queries.remove(0);
        queries[7]
            .admit(StatementSize::Large)
            .expect("a place that became free");
    }

    #[test]
    fn place_is_taken_as_long_as_planning_goes_on() {
        let running = Running::new(1, Counters::register(&Metrics::new("0")));
        let query = running.begin(Bytes::new()).expect("a free place");
        let place = query.place();
        drop(query);
        assert!(running.begin(Bytes::new()).is_err());
        drop(place);
        assert!(running.begin(Bytes::new()).is_ok());
    }
}
