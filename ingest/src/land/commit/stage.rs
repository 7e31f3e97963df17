//! Staging: the rows of a flush batch become stored data files, which the next commit adds to
//! their tables.
//!
//! It runs beside reading and beside commits, so that a commit has few files left to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use futures::{StreamExt as _, TryStreamExt as _};
use lake::{DataFile, Encoded, PartitionKey, Table, encode, split};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::land::commit::memory_budget::MemoryBudget;

/// Files of one table and flush batch that are encoded, and then stored, at the same time.
const FILES_CONCURRENCY: usize = 8;

/// Stages the rows of one topic.
#[derive(Debug)]
pub(crate) struct Stage {
    targets: Arc<[StagedTable]>,
    /// The encoder permits of the process, see `MemoryBudget`.
    encoders: Arc<Semaphore>,
}

/// A table that rows are staged for.
#[derive(Clone, Debug)]
pub(crate) struct StagedTable {
    table: Table,
    /// Partition columns.
    partition: Vec<String>,
    /// How often another writer has removed orphan files since the table was opened.
    removals: Arc<AtomicU64>,
}

/// A stored data file that no commit names yet, and all that a second upload needs.
#[derive(Debug)]
pub(crate) struct StagedFile {
    /// The file, as a commit adds it.
    pub(crate) file: DataFile,
    key: PartitionKey,
    encoded: Encoded,
    /// Value of [`StagedTable::removals`] before the upload began.
    removals: u64,
}

impl Stage {
    pub(crate) fn new(targets: Vec<StagedTable>, budget: &MemoryBudget) -> Self {
        Self {
            targets: targets.into(),
            encoders: Arc::clone(&budget.encoders),
        }
    }

    /// Waits for an encoder, and returns the work that is left: encode `rows`, a list for each
    /// table, and store the files.
    pub(crate) async fn begin(
        &self,
        rows: Vec<Vec<RecordBatch>>,
    ) -> impl Future<Output = Result<Vec<Vec<StagedFile>>, Error>> + Send + 'static {
        let permit = Arc::clone(&self.encoders).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let targets = Arc::clone(&self.targets);
        async move {
            let tables = targets.iter().zip(rows);
            let tables = tables.map(|(target, rows)| target.encode_all(rows));
            let encoded = futures::future::try_join_all(tables).await;
            // Encoded files are small, and stay in memory until their commit anyway: the next
            // batch need not wait until these are stored.
            drop(permit);
            let tables = targets.iter().zip(encoded?);
            let tables = tables.map(|(target, files)| target.store_all(files));
            futures::future::try_join_all(tables).await
        }
    }
}

impl StagedTable {
    pub(crate) fn new(table: &Table, partition: Vec<String>) -> Self {
        Self {
            table: table.clone(),
            partition,
            removals: Arc::default(),
        }
    }

    /// Encodes one file for each partition.
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

    async fn store_all(
        &self,
        files: Vec<(PartitionKey, Encoded)>,
    ) -> Result<Vec<StagedFile>, Error> {
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

    async fn store(&self, key: PartitionKey, encoded: Encoded) -> Result<StagedFile, Error> {
        let removals = self.removals.load(Ordering::Acquire);
        let file = self.table.store(&key, encoded.clone()).await?;
        Ok(StagedFile {
            file,
            key,
            encoded,
            removals,
        })
    }

    /// Notes that another process has removed orphan files: files stored before may be gone.
    pub(crate) fn note_removal(&self) {
        self.removals.fetch_add(1, Ordering::AcqRel);
    }

    /// Uploads again, under new names, those of `staged` that may be gone.
    pub(crate) async fn reupload_removed(
        &self,
        staged: Vec<StagedFile>,
    ) -> Result<Vec<StagedFile>, Error> {
        let removals = self.removals.load(Ordering::Acquire);
        let (removed, mut kept): (Vec<_>, Vec<_>) = staged
            .into_iter()
            .partition(|file| file.removals < removals);
        let stored = futures::stream::iter(removed)
            .map(|removed| self.store(removed.key, removed.encoded))
            .buffer_unordered(FILES_CONCURRENCY);
        kept.extend(stored.try_collect::<Vec<_>>().await?);
        Ok(kept)
    }
}
