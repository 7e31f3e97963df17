//! How many rows of the build side one row of the probe side meets, at most.
//!
//! For a join by equal columns it is counted in a table of buckets, one for each of 65,536 ranges
//! of hashes: the rows of a bucket are an upper bound for each key in it, and the table costs a few
//! nanoseconds a row of the smaller side. A bound by all rows of the build side alone would cut
//! ordinary joins into slices of single rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::Result;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::physical_expr::PhysicalExprRef;

const BUCKETS: usize = 1 << 16;
/// Seeds the hashes of both sides.
const SEED: u64 = 0x1507_ba12;

/// Counts of the build side, a field for each of its partitions.
#[derive(Debug)]
pub(super) struct FanOut {
    partitions: Vec<Mutex<Arc<Counts>>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    rows: usize,
    /// Empty where rows have no key.
    buckets: Vec<u32>,
    largest: u32,
}

impl FanOut {
    /// One that the build side will count.
    pub(super) fn counted(partitions: usize) -> Arc<Self> {
        let partitions = (0..partitions).map(|_| Mutex::default());
        Arc::new(Self {
            partitions: partitions.collect(),
        })
    }

    /// One of which everything is known.
    pub(super) fn constant(rows: usize) -> Arc<Self> {
        let counts = Counts {
            rows,
            ..Counts::default()
        };
        Arc::new(Self {
            partitions: vec![Mutex::new(Arc::new(counts))],
        })
    }

    /// What the rows of `partition` of the probe side meet; a build side of one partition is met by
    /// all.
    pub(super) fn get(&self, partition: usize) -> Arc<Counts> {
        Arc::clone(&self.lock(partition))
    }

    pub(super) fn set(&self, partition: usize, counts: Counts) {
        *self.lock(partition) = Arc::new(counts);
    }

    fn lock(&self, partition: usize) -> MutexGuard<'_, Arc<Counts>> {
        let slot = partition.min(self.partitions.len() - 1);
        self.partitions[slot]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Counts the rows of a batch of the build side.
    pub(super) fn add(&mut self, batch: &RecordBatch, keys: &[PhysicalExprRef]) -> Result<()> {
        self.rows += batch.num_rows();
        if keys.is_empty() || batch.num_rows() == 0 {
            return Ok(());
        }
        self.buckets.resize(BUCKETS, 0);
        for hash in hashes(batch, keys)? {
            let bucket = &mut self.buckets[bucket(hash)];
            *bucket = bucket.saturating_add(1);
            self.largest = self.largest.max(*bucket);
        }
        Ok(())
    }

    /// Most rows that any row of the probe side meets.
    pub(super) fn largest(&self) -> usize {
        if self.buckets.is_empty() {
            self.rows
        } else {
            self.largest as usize
        }
    }

    /// Most rows that each row of `batch` meets.
    pub(super) fn of_rows(
        &self,
        batch: &RecordBatch,
        keys: &[PhysicalExprRef],
    ) -> Result<Vec<usize>> {
        let hashes = hashes(batch, keys)?;
        let met = hashes.into_iter().map(|hash| self.buckets[bucket(hash)]);
        Ok(met.map(|rows| rows as usize).collect())
    }

    /// Whether rows differ in what they meet.
    pub(super) fn has_keys(&self) -> bool {
        !self.buckets.is_empty()
    }
}

fn hashes(batch: &RecordBatch, keys: &[PhysicalExprRef]) -> Result<Vec<u64>> {
    let values = keys
        .iter()
        .map(|key| key.evaluate(batch)?.into_array(batch.num_rows()))
        .collect::<Result<Vec<ArrayRef>>>()?;
    let mut hashes = vec![0; batch.num_rows()];
    create_hashes(&values, &RandomState::with_seed(SEED), &mut hashes)?;
    Ok(hashes)
}

fn bucket(hash: u64) -> usize {
    (hash ^ (hash >> 32)) as usize % BUCKETS
}
