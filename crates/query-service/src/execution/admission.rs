//! Admission: limits how many statements run, finds those to cancel, and tracks all until shutdown.
//!
//! With `serve.queries_max` of 8 or more, one permit in eight is reserved for statements that the
//! planner estimates to be small, so that a look at a table is answered while large statements hold
//! all other permits. A statement holds its permit until its tasks have ended, which is later than
//! the client's answer when a function or a join computes without yielding.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine::estimate::StatementSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::error::Error;
use crate::metrics::{Counters, Outcome};
use crate::statements::statement::StatementId;

/// The running statements of all clients.
#[derive(Debug)]
pub(crate) struct RunningStatements {
    permits: Arc<Semaphore>,
    /// A large statement needs one of these as well. There are fewer of them than of `permits`, so
    /// that some of those stay free for small statements.
    large: Arc<Semaphore>,
    /// Permits to plan a statement without running it.
    planning: Arc<Semaphore>,
    queries_max: usize,
    entries: Mutex<Vec<Entry>>,
    next: AtomicU64,
    pub(crate) counters: Counters,
    /// The tasks that supervise statements and report their end.
    pub(crate) tasks: TaskTracker,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// A client may run a statement that was described once more than once.
    id: StatementId,
    token: CancellationToken,
}

/// A running statement. Dropping it records its end.
#[derive(Debug)]
pub(crate) struct RunningStatement {
    running: Arc<RunningStatements>,
    number: u64,
    pub(crate) token: CancellationToken,
    pub(crate) started: Instant,
    /// What is recorded at the end: cancelled, unless something else was known before.
    pub(crate) outcome: Outcome,
    permit: StatementPermit,
    large: Option<OwnedSemaphorePermit>,
}

/// The permit of a running statement, released when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct StatementPermit {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// One of this many permits is reserved for small statements.
const PERMITS_PER_RESERVED: usize = 8;

impl RunningStatements {
    pub(crate) fn new(queries_max: usize, counters: Counters) -> Arc<Self> {
        let queries_max = queries_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(queries_max)),
            large: Arc::new(Semaphore::new(large_max(queries_max))),
            planning: Arc::new(Semaphore::new(queries_max)),
            queries_max,
            entries: Mutex::default(),
            next: AtomicU64::default(),
            counters,
            tasks: TaskTracker::new(),
        })
    }

    /// Admits statement `id`, if a permit is free.
    pub(crate) fn begin(self: &Arc<Self>, id: StatementId) -> Result<RunningStatement, Error> {
        let limit = self.queries_max;
        let permit = self.acquire(&self.permits, Error::StatementsRunning { limit })?;
        let statement = RunningStatement {
            running: Arc::clone(self),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            token: CancellationToken::new(),
            started: Instant::now(),
            outcome: Outcome::Cancelled,
            permit: StatementPermit {
                _permit: Arc::new(permit),
            },
            large: None,
        };
        self.counters.running.inc();
        self.lock().push(Entry {
            number: statement.number,
            id,
            token: statement.token.clone(),
        });
        Ok(statement)
    }

    /// Acquires a permit to plan a statement that is not run yet.
    pub(crate) fn begin_planning(&self) -> Result<OwnedSemaphorePermit, Error> {
        let limit = self.queries_max;
        self.acquire(&self.planning, Error::StatementsPlanned { limit })
    }

    fn acquire(
        &self,
        semaphore: &Arc<Semaphore>,
        refusal: Error,
    ) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(semaphore)
            .try_acquire_owned()
            .map_err(|_no_permit| {
                self.counters.overloaded.inc();
                refusal
            })
    }

    /// Cancels the running statements `id`, and returns whether there were any.
    pub(crate) fn cancel(&self, id: &StatementId) -> bool {
        let entries = self.lock();
        let found = entries.iter().filter(|entry| entry.id == *id);
        found.map(|entry| entry.token.cancel()).count() > 0
    }

    /// Cancels all running statements, and returns their number.
    pub(crate) fn cancel_all(&self) -> usize {
        let entries = self.lock();
        entries.iter().map(|entry| entry.token.cancel()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn large_max(queries_max: usize) -> usize {
    queries_max - queries_max / PERMITS_PER_RESERVED
}

impl RunningStatement {
    /// A clone of its permit, for work that continues after the statement was answered.
    pub(crate) fn permit(&self) -> StatementPermit {
        self.permit.clone()
    }

    /// Admits a planned statement: a large one needs a second permit.
    pub(crate) fn admit(&mut self, size: StatementSize) -> Result<(), Error> {
        if size == StatementSize::Small {
            return Ok(());
        }
        let running = Arc::clone(&self.running);
        let limit = large_max(running.queries_max);
        let large = running.acquire(&running.large, Error::LargeStatementsRunning { limit })?;
        self.large = Some(large);
        Ok(())
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.running.counters
    }

    /// Tracks the tasks of all statements.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.running.tasks.clone()
    }
}

impl Drop for RunningStatement {
    fn drop(&mut self) {
        let mut entries = self.running.lock();
        entries.retain(|entry| entry.number != self.number);
        drop(entries);
        let elapsed = self.started.elapsed();
        // In this order, so that a reader of the metrics that finds no statement running also finds
        // the outcomes counted.
        self.running.counters.ended(self.outcome, elapsed);
        self.running.counters.running.dec();
        debug!(outcome = self.outcome.as_str(), ?elapsed, "statement ended");
    }
}

#[cfg(test)]
mod tests {
    use service::metrics::Metrics;

    use super::*;
    use crate::code::ErrorCode;

    #[test]
    fn permit_is_free_when_its_statement_has_ended() {
        let metrics = Metrics::new("0");
        let running = RunningStatements::new(2, Counters::register(&metrics));
        let id = StatementId::random();
        let mut first = running.begin(id.clone()).expect("a free permit");
        let second = running.begin(id.clone()).expect("a free permit");
        let refused = running.begin(id.clone()).expect_err("no permit");
        assert_eq!(refused.code(), ErrorCode::ResourceExhausted);
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
    fn last_permits_are_reserved_for_small_statements() {
        let running = RunningStatements::new(9, Counters::register(&Metrics::new("0")));
        let mut statements: Vec<_> = (0..9)
            .map(|_| running.begin(StatementId::random()).expect("a free permit"))
            .collect();
        for statement in &mut statements[..8] {
            statement
                .admit(StatementSize::Large)
                .expect("a permit for a large statement");
        }
        let refused = statements[8]
            .admit(StatementSize::Large)
            .expect_err("reserved for small ones");
        assert_eq!(refused.code(), ErrorCode::ResourceExhausted);
        let refused = refused.to_string();
        assert!(refused.contains("reserved for small"), "{refused}");
        statements[8]
            .admit(StatementSize::Small)
            .expect("a permit for a small one");
        statements.remove(0);
        statements[7]
            .admit(StatementSize::Large)
            .expect("a permit that became free");
    }

    #[test]
    fn permit_is_held_until_planning_ends() {
        let running = RunningStatements::new(1, Counters::register(&Metrics::new("0")));
        let statement = running.begin(StatementId::random()).expect("a free permit");
        let permit = statement.permit();
        drop(statement);
        assert!(running.begin(StatementId::random()).is_err());
        drop(permit);
        assert!(running.begin(StatementId::random()).is_ok());
    }
}
