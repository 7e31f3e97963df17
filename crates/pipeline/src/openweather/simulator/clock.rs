//! The clock of a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};

/// A clock that changes only when it is set. Clones share the time.
#[derive(Debug, Clone)]
pub struct SimulatedClock {
    /// UTC epoch seconds, the resolution of the API.
    seconds: Arc<AtomicI64>,
}

impl SimulatedClock {
    pub fn new(instant: DateTime<Utc>) -> Self {
        Self {
            seconds: Arc::new(AtomicI64::new(instant.timestamp())),
        }
    }

    pub fn set(&self, instant: DateTime<Utc>) {
        self.seconds.store(instant.timestamp(), Ordering::Release);
    }

    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.seconds.load(Ordering::Acquire), 0)
            .expect("the seconds come from an instant")
    }
}
