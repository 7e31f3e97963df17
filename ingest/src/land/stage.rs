//! Staging: rows become stored data files, which the commit that follows names.
//!
//! It goes on beside reading and beside commits, so that a commit has little left to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use engine::lake::{DataFile, Encoded, PartitionKey, Table, encode, split};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;

use super::memory_budget::MemoryBudget;
use crate::error::Error;

/// Files of one table and lot that are encoded, and then stored, at the same time.
const FILES_CONCURRENCY: usize = 8;

/// Where the rows of a topic are staged.
#[derive(Debug)]
pub(crate) struct Stage {
    targets: Arc<[Target]>,
    encoders: Arc<Semaphore>,
}

/// A table as staging sees it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    table: Table,
    partition: Vec<String>,
    /// How often its writer has found the table swept by somebody else.
    sweeps: Arc<AtomicU64>,
}

/// A stored file, and what it takes to store it again.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) file: DataFile,
    key: PartitionKey,
    encoded: Encoded,
    /// The sweeps that were known when the file was not yet there.
    sweeps: u64,
}

impl Stage {
    pub(crate) fn new(targets: Vec<Target>, budget: &MemoryBudget) -> Self {
        Self {
            targets: targets.into(),
            encoders: Arc::clone(&budget.encoders),
        }
    }

    /// Waits for room to encode, and gives what is left to do for `rows`, a list for each table.
    pub(crate) async fn begin(
        &self,
        rows: Vec<Vec<RecordBatch>>,
    ) -> impl Future<Output = Result<Vec<Vec<Staged>>, Error>> + Send + 'static {
        let permit = Arc::clone(&self.encoders).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let targets = Arc::clone(&self.targets);
        async move {
            let tables = targets.iter().zip(rows);
            let tables = tables.map(|(target, rows)| target.encode_all(rows));
            let encoded = futures::future::try_join_all(tables).await;
            // Files are small, and held until their commit anyway: who has rows need not wait until they are stored.
            drop(permit);
            let tables = targets.iter().zip(encoded?);
            let tables = tables.map(|(target, files)| target.store_all(files));
            futures::future::try_join_all(tables).await
        }
    }
}

impl Target {
    pub(crate) fn new(table: &Table, partition: Vec<String>) -> Self {
        Self {
            table: table.clone(),
            partition,
            sweeps: Arc::default(),
        }
    }

    /// A file for each partition, not stored yet.
    async fn encode_all(
        &self,
        rows: Vec<RecordBatch>,
    ) -> Result<Vec<(PartitionKey, Encoded)>, Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let parts = split(&rows, &self.partition).map_err(|source: ArrowError| Error::Encode {
            table: self.table.name().clone(),
            source: source.into(),
        })?;
        drop(rows);
        futures::stream::iter(parts)
            .map(|(key, rows)| async move { Ok((key, self.encoded(rows).await?)) })
            .buffer_unordered(FILES_CONCURRENCY)
            .try_collect()
            .await
    }

    async fn store_all(&self, files: Vec<(PartitionKey, Encoded)>) -> Result<Vec<Staged>, Error> {
        futures::stream::iter(files)
            .map(|(key, encoded)| self.store(key, encoded))
            .buffer_unordered(FILES_CONCURRENCY)
            .try_collect()
            .await
    }

    async fn encoded(&self, rows: Vec<RecordBatch>) -> Result<Encoded, Error> {
        let schema = self.table.snapshot().file_schema();
        tokio::task::spawn_blocking(move || encode(&schema, &rows))
            .await
            .map_err(Error::Task)?
            .map_err(|source| Error::Encode {
                table: self.table.name().clone(),
                source: source.into(),
            })
    }

    async fn store(&self, key: PartitionKey, encoded: Encoded) -> Result<Staged, Error> {
        let sweeps = self.sweeps.load(Ordering::Acquire);
        let file = self.table.store(&key, encoded.clone()).await?;
        Ok(Staged {
            file,
            key,
            encoded,
            sweeps,
        })
    }

    /// The table was swept by somebody else: what was stored before may be gone.
    pub(crate) fn is_swept(&self) {
        self.sweeps.fetch_add(1, Ordering::AcqRel);
    }

    /// Stores files under new names that may be gone.
    pub(crate) async fn store_lost(&self, staged: Vec<Staged>) -> Result<Vec<Staged>, Error> {
        let sweeps = self.sweeps.load(Ordering::Acquire);
        let (lost, mut kept): (Vec<_>, Vec<_>) =
            staged.into_iter().partition(|file| file.sweeps < sweeps);
        let stored = futures::stream::iter(lost)
            .map(|lost| self.store(lost.key, lost.encoded))
            .buffer_unordered(FILES_CONCURRENCY);
        kept.extend(stored.try_collect::<Vec<_>>().await?);
        Ok(kept)
    }
}
