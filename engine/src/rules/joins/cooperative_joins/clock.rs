//! When the polls of a join began, so that time in which a join waits for others is not taken for
//! its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The polls of a join, a field for each of its partitions.
#[derive(Debug)]
pub(super) struct Clock {
    polls: Vec<Mutex<u64>>,
}

impl Clock {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            polls: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    /// A poll of `partition` begins.
    pub(super) fn begin(&self, partition: usize) {
        if let Some(mut poll) = self.lock(partition) {
            *poll += 1;
        }
    }

    /// The number of the poll that goes on.
    pub(super) fn poll(&self, partition: usize) -> u64 {
        self.lock(partition).map_or(0, |poll| *poll)
    }

    fn lock(&self, partition: usize) -> Option<MutexGuard<'_, u64>> {
        let poll = self.polls.get(partition)?;
        Some(poll.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
