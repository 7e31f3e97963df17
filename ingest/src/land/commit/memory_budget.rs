//! The memory budget that the landings of one process share, so that many topics need no more
//! memory than one.
//!
//! It counts rows and bytes of messages between their arrival in a buffer and the end of their
//! commit. It does not count blocks that are still being decoded: `source::channel` bounds those.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::land::CommitLimits;

/// Flush batches that are encoded at the same time. More would only take memory.
const ENCODE_CONCURRENCY: usize = 3;

/// The budget of all landings that hold a clone of it.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    used: Arc<Used>,
    /// One permit for each flush batch that may be encoded at the same time.
    pub(crate) encoders: Arc<Semaphore>,
    /// The permit to commit to `dead_letters`, the one table that all topics share. Landings take
    /// turns, so that none has to retry a commit because of another.
    pub(crate) dead_letters_commit: Arc<Semaphore>,
}

/// What all landings together hold for commits that are not finished.
#[derive(Debug, Default)]
struct Used {
    landings: AtomicUsize,
    rows: AtomicUsize,
    bytes: AtomicU64,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self {
            used: Arc::default(),
            encoders: Arc::new(Semaphore::new(ENCODE_CONCURRENCY)),
            dead_letters_commit: Arc::new(Semaphore::new(1)),
        }
    }
}

impl MemoryBudget {
    /// Registers one more landing, until the returned share is dropped.
    pub(crate) fn register(&self) -> BudgetShare {
        self.used.landings.fetch_add(1, Ordering::Relaxed);
        BudgetShare(self.clone())
    }
}

/// The registration of one landing, until it is dropped. Each landing's share of the budget is the
/// limit divided by the number of registrations.
#[derive(Debug)]
pub(crate) struct BudgetShare(MemoryBudget);

impl BudgetShare {
    /// An empty reservation, for the first commit.
    pub(crate) fn reservation(&self) -> Reservation {
        Reservation {
            used: Arc::clone(&self.0.used),
            rows: 0,
            bytes: 0,
        }
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.0.used.landings.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one landing holds for one commit. Dropping it returns it to the budget: by then the rows
/// are committed, or the attempt has failed and the source is read again.
#[derive(Debug)]
pub(crate) struct Reservation {
    used: Arc<Used>,
    rows: usize,
    bytes: u64,
}

impl Reservation {
    pub(crate) fn add_rows(&mut self, rows: usize) {
        self.rows += rows;
        self.used.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Adds bytes of messages.
    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.used.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// An empty reservation of the same budget, for the commit after this one.
    pub(crate) fn next(&self) -> Self {
        Self {
            used: Arc::clone(&self.used),
            rows: 0,
            bytes: 0,
        }
    }

    /// True when the shared budget is used up *and* this landing holds at least its share (limit ÷
    /// landings). One busy landing may use the whole budget. Rows stay charged until their commit
    /// ends while the next buffer fills: the charge peaks at twice the limit for one landing, and
    /// below three times the limit for several.
    pub(crate) fn should_commit(&self, limits: &CommitLimits) -> bool {
        let landings = self.used.landings.load(Ordering::Relaxed).max(1);
        let (rows, bytes) = (
            self.used.rows.load(Ordering::Relaxed),
            self.used.bytes.load(Ordering::Relaxed),
        );
        (rows >= limits.rows_max && self.rows >= limits.rows_max.div_ceil(landings))
            || (bytes >= limits.bytes_max
                && self.bytes >= limits.bytes_max.div_ceil(landings as u64))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.rows.fetch_sub(self.rows, Ordering::Relaxed);
        self.used.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CommitLimits, MemoryBudget};

    const LIMITS: CommitLimits = CommitLimits {
        rows_max: 100,
        bytes_max: 1_000,
        interval: Duration::from_secs(60),
    };

    #[test]
    fn single_landing_commits_at_the_whole_limit() {
        let budget = MemoryBudget::default();
        let share = budget.register();
        let mut reservation = share.reservation();
        reservation.add_rows(99);
        reservation.add_bytes(999);
        assert!(!reservation.should_commit(&LIMITS));
        reservation.add_bytes(1);
        assert!(reservation.should_commit(&LIMITS));
        let mut next = reservation.next();
        next.add_rows(99);
        assert!(
            !next.should_commit(&LIMITS),
            "the previous batch is still charged"
        );
        next.add_rows(1);
        assert!(next.should_commit(&LIMITS));
    }

    #[test]
    fn only_topic_with_its_fair_share_commits_when_budget_is_used_up() {
        let budget = MemoryBudget::default();
        let shares = [budget.register(), budget.register()];
        let [mut busy, mut quiet] = [shares[0].reservation(), shares[1].reservation()];
        quiet.add_bytes(10);
        busy.add_bytes(980);
        assert!(!busy.should_commit(&LIMITS) && !quiet.should_commit(&LIMITS));
        busy.add_bytes(10);
        assert!(busy.should_commit(&LIMITS) && !quiet.should_commit(&LIMITS));
        drop(busy);
        quiet.add_bytes(600);
        assert!(
            !quiet.should_commit(&LIMITS),
            "the dropped batch was returned"
        );
        let [busy, _quiet_share] = shares;
        drop(busy);
        quiet.add_bytes(390);
        assert!(quiet.should_commit(&LIMITS));
    }
}
