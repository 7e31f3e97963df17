//! The memory that the statements of a process hold together.
//!
//! Operators that can spill get equal shares (DataFusion's fair pool); with the greedy pool a large
//! sort fails because an earlier one has everything. Two things are ours:
//!
//! - A nested-loop join whose build side does not fit answers with rows missing: DataFusion 55.2
//!   spills it, and loses what it has (apache/datafusion#24676, #24745, #22641). It starts to spill
//!   when the pool says that resources are exhausted, so this pool says so in another way, and the
//!   statement fails instead.
//! - Joins copy their build side once it is whole, which DataFusion does not count. All build sides
//!   together may have half of the pool.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use settings::ByteSize;

use crate::error::Error;

/// The largest consumers that a refusal names.
const NAMED: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

/// What DataFusion calls the build sides of its joins.
const BUILD_SIDES: [&str; 3] = ["NestedLoopJoinLoad", "CrossJoinExec", "HashJoinInput"];

#[derive(Debug)]
pub(super) struct StatementPool {
    inner: TrackConsumersPool<FairSpillPool>,
    size: usize,
    /// Of all build sides together.
    build_sides: AtomicUsize,
}

impl StatementPool {
    pub(super) fn new(size: usize) -> Self {
        Self {
            inner: TrackConsumersPool::new(FairSpillPool::new(size), NAMED),
            size,
            build_sides: AtomicUsize::new(0),
        }
    }

    fn build_side_refused(&self) -> DataFusionError {
        DataFusionError::External(Box::new(Error::JoinMemory {
            limit: ByteSize(self.build_side_max() as u64 >> 20 << 20),
        }))
    }

    fn build_side_max(&self) -> usize {
        self.size / 2
    }
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statements"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if is_build_side(reservation) {
            self.build_sides.fetch_add(additional, Ordering::Relaxed);
        }
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if is_build_side(reservation) {
            self.build_sides.fetch_sub(shrink, Ordering::Relaxed);
        }
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if !is_build_side(reservation) {
            return self.inner.try_grow(reservation, additional);
        }
        let fits = |held: usize| {
            let held = held.checked_add(additional)?;
            (held <= self.build_side_max()).then_some(held)
        };
        let taken = self
            .build_sides
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        if taken.is_err() {
            return Err(self.build_side_refused());
        }
        let grown = self.inner.try_grow(reservation, additional);
        grown.map_err(|_full| {
            self.build_sides.fetch_sub(additional, Ordering::Relaxed);
            self.build_side_refused()
        })
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.size)
    }
}

fn is_build_side(reservation: &MemoryReservation) -> bool {
    let name = reservation.consumer().name();
    BUILD_SIDES.iter().any(|side| name.starts_with(side))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const POOL: usize = 64 << 20;

    #[test]
    fn build_side_gets_half_and_is_refused_by_name() {
        let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(POOL));
        for side in ["NestedLoopJoinLoad[1]", "CrossJoinExec", "HashJoinInput"] {
            let build = MemoryConsumer::new(side).register(&pool);
            build.try_grow(POOL / 2).unwrap();
            let refusal = build.try_grow(1).unwrap_err();
            assert!(
                !matches!(refusal.find_root(), DataFusionError::ResourcesExhausted(_)),
                "{side} would spill"
            );
            assert!(refusal.to_string().contains("32MiB"), "{refusal}");
        }
        let other = MemoryConsumer::new("GroupedHashAggregate").register(&pool);
        other.try_grow(POOL / 2 + 1).unwrap();
        let full = other.try_grow(POOL).unwrap_err();
        assert!(matches!(full, DataFusionError::ResourcesExhausted(_)));
    }

    #[test]
    fn sorts_share_memory_equally() {
        let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(POOL));
        let sorts = ["one", "other"].map(|name| {
            let consumer = MemoryConsumer::new(name).with_can_spill(true);
            consumer.register(&pool)
        });
        assert!(sorts[0].try_grow(POOL / 2 + 1).is_err());
        for sort in &sorts {
            sort.try_grow(POOL / 2).unwrap();
        }
    }
}
