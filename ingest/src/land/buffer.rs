//! What has come since the last commit was begun.

use std::time::Instant;

use arrow::array::RecordBatch;
use tokio::task::JoinSet;

use super::Limits;
use super::memory_budget::Reservation;
use super::reached::Reached;
use super::stage::{Stage, Staged};
use crate::error::Error;

/// Bytes of messages whose rows are staged together: enough for files of a fair size, and a small part of what may be
/// committed at once.
const LOT_BYTES: u64 = 32 << 20;

/// Rows on their way to the tables of one topic. Each step consumes the one before: rows are staged in lots, a sealed
/// buffer is committed.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// By table; not staged yet.
    rows: Vec<Vec<RecordBatch>>,
    /// Bytes of the messages that these rows came in.
    unstaged: u64,
    lots: Lots,
    /// How far the source was read for them, if it has positions.
    reached: Reached,
    reservation: Reservation,
    pub(crate) since: Option<Instant>,
}

/// Lots that are being staged, or are: files by table.
type Lots = JoinSet<Result<Vec<Vec<Staged>>, Error>>;

/// What one commit for each table is made of.
#[derive(Debug)]
pub(crate) struct Sealed {
    lots: Lots,
    pub(crate) reached: Reached,
    /// Held until the commit is done.
    reservation: Reservation,
}

impl Buffer {
    pub(crate) fn new(tables: usize, reservation: Reservation) -> Self {
        Self {
            rows: vec![Vec::new(); tables],
            unstaged: 0,
            lots: JoinSet::new(),
            reached: Reached::default(),
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
    pub(crate) fn weigh(&mut self, bytes: u64) {
        self.reservation.add_bytes(bytes);
        self.unstaged += bytes;
    }

    /// The source has been read up to here, whatever became of its messages.
    pub(crate) fn reach(&mut self, reached: &Reached) {
        self.since.get_or_insert_with(Instant::now);
        self.reached.extend(reached);
    }

    /// Whether so much has come that it has to be committed.
    pub(crate) fn should_commit(&self, limits: &Limits) -> bool {
        self.reservation.should_commit(limits)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reservation.rows() == 0 && self.reached.is_empty()
    }

    /// Begins to stage the rows that have come, if they are a lot.
    pub(crate) async fn stage_if_due(&mut self, stage: &Stage) {
        if self.unstaged >= LOT_BYTES {
            self.stage(stage).await;
        }
    }

    async fn stage(&mut self, stage: &Stage) {
        self.unstaged = 0;
        if self.rows.iter().all(Vec::is_empty) {
            return;
        }
        let tables = self.rows.len();
        let rows = std::mem::replace(&mut self.rows, vec![Vec::new(); tables]);
        self.lots.spawn(stage.begin(rows).await);
    }

    /// Stages the rest and takes everything out, if there is anything. Whether a lot failed is told by the commit.
    pub(crate) async fn seal(&mut self, stage: &Stage) -> Option<Sealed> {
        self.stage(stage).await;
        let empty = Self::new(self.rows.len(), self.reservation.next());
        let full = std::mem::replace(self, empty);
        (!full.is_empty()).then_some(Sealed {
            lots: full.lots,
            reached: full.reached,
            reservation: full.reservation,
        })
    }
}

impl Sealed {
    pub(crate) fn rows(&self) -> usize {
        self.reservation.rows()
    }

    /// The files of each table, once all are stored.
    pub(crate) async fn files(&mut self, tables: usize) -> Result<Vec<Vec<Staged>>, Error> {
        let mut files: Vec<Vec<Staged>> = std::iter::repeat_with(Vec::new).take(tables).collect();
        while let Some(lot) = self.lots.join_next().await {
            let lot = lot.map_err(Error::Task)??;
            for (files, more) in files.iter_mut().zip(lot) {
                files.extend(more);
            }
        }
        Ok(files)
    }
}
