//! The rows of one topic that have arrived since its last commit began.

use std::time::Instant;

use arrow::array::RecordBatch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::error::Error;
use crate::land::CommitLimits;
use crate::land::commit::memory_budget::Reservation;
use crate::land::commit::stage::{Stage, StagedFile};
use crate::land::source_progress::SourceProgress;

/// Bytes of messages whose rows make one flush batch: enough for data files of a fair size, and a
/// small part of what one commit may hold.
const FLUSH_BYTES: u64 = 32 << 20;

/// Rows that wait for the next commit to the tables of one topic. Each step consumes the one
/// before: rows are flushed in batches, and a sealed buffer is committed.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// By table; not flushed yet.
    rows: Vec<Vec<RecordBatch>>,
    /// Bytes of the messages that these rows came in.
    unflushed_bytes: u64,
    batches: FlushBatches,
    /// How far the source was read for these rows, if the source has positions.
    progress: SourceProgress,
    reservation: Reservation,
    /// When the oldest row or position arrived; none while the buffer is empty.
    pub(crate) since: Option<Instant>,
}

/// A flush batch: rows that are encoded and stored together. Its result is data files by table.
type FlushBatch = Vec<Vec<StagedFile>>;

/// Flush batches, stored or still being encoded.
type FlushBatches = JoinSet<Result<FlushBatch, Error>>;

/// The content of one commit to each table.
#[derive(Debug)]
pub(crate) struct Sealed {
    batches: FlushBatches,
    /// How far the source was read for these rows.
    pub(crate) progress: SourceProgress,
    /// Charged until the commit is done.
    reservation: Reservation,
}

impl Buffer {
    pub(crate) fn new(tables: usize, reservation: Reservation) -> Self {
        Self {
            rows: vec![Vec::new(); tables],
            unflushed_bytes: 0,
            batches: JoinSet::new(),
            progress: SourceProgress::default(),
            reservation,
            since: None,
        }
    }

    /// Adds rows of the table with this number.
    pub(crate) fn push(&mut self, table: usize, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.reservation.add_rows(rows.num_rows());
            self.since.get_or_insert_with(Instant::now);
            self.rows[table].push(rows);
        }
    }

    /// Counts bytes of messages, whose text the rows hold.
    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.reservation.add_bytes(bytes);
        self.unflushed_bytes += bytes;
    }

    /// Records how far the source was read, also where its messages made no rows.
    pub(crate) fn advance(&mut self, progress: &SourceProgress) {
        self.since.get_or_insert_with(Instant::now);
        self.progress.extend(progress);
    }

    /// Whether the memory budget requires a commit now.
    pub(crate) fn should_commit(&self, limits: &CommitLimits) -> bool {
        self.reservation.should_commit(limits)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reservation.rows() == 0 && self.progress.is_empty()
    }

    /// Starts to encode and store the rows, once they make a flush batch.
    pub(crate) async fn flush_if_full(&mut self, stage: &Stage) {
        if self.unflushed_bytes >= FLUSH_BYTES {
            self.flush(stage).await;
        }
    }

    async fn flush(&mut self, stage: &Stage) {
        self.unflushed_bytes = 0;
        if self.rows.iter().all(Vec::is_empty) {
            return;
        }
        let tables = self.rows.len();
        let rows = std::mem::replace(&mut self.rows, vec![Vec::new(); tables]);
        let staging = stage.begin(rows).await;
        self.batches.spawn(staging.in_current_span());
    }

    /// Flushes the remaining rows and empties the buffer; none if it was empty. The commit
    /// reports a batch that could not be stored.
    pub(crate) async fn seal(&mut self, stage: &Stage) -> Option<Sealed> {
        self.flush(stage).await;
        let empty = Self::new(self.rows.len(), self.reservation.next());
        let full = std::mem::replace(self, empty);
        (!full.is_empty()).then_some(Sealed {
            batches: full.batches,
            progress: full.progress,
            reservation: full.reservation,
        })
    }
}

impl Sealed {
    pub(crate) fn rows(&self) -> usize {
        self.reservation.rows()
    }

    /// Waits until all batches are stored, and returns the data files of each table.
    pub(crate) async fn files(&mut self, tables: usize) -> Result<FlushBatch, Error> {
        let mut files: FlushBatch = std::iter::repeat_with(Vec::new).take(tables).collect();
        while let Some(batch) = self.batches.join_next().await {
            let batch = batch.map_err(Error::Task)??;
            for (files, more) in files.iter_mut().zip(batch) {
                files.extend(more);
            }
        }
        Ok(files)
    }
}
