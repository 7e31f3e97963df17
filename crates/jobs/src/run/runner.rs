//! What runs of queries work with, and what they report. The steps of a run are in `mod.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono_tz::Tz;
use engine::session::Session;
use lake::{DataFile, Lake, Location, PartitionKey};

use super::staleness::{Freshness, Input};
use crate::outputs::HbaseTarget;

/// How often a run, or its copy to HBase, is repeated after commit conflicts on its output table.
pub(crate) const TRIES: usize = 5;

/// Runs queries over one lake.
#[derive(Debug)]
pub struct Runner {
    /// The lake that holds input and output tables.
    pub lake: Arc<Lake>,
    /// Plans and computes the queries.
    pub session: Session,
    /// Directory of the files of `output.jsonl`.
    pub base_path: Location,
    /// The zone whose calendar days are partitions.
    pub zone: Tz,
    /// Where the rows of `output.hbase` are written; `None` skips that output.
    pub hbase: Option<HbaseTarget>,
}

/// Tells the runs of a process apart in its log: the process, and how many runs it began before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunId {
    process: u32,
    number: u64,
}

impl RunId {
    pub(crate) fn next() -> Self {
        static BEGUN: AtomicU64 = AtomicU64::new(0);
        Self {
            process: std::process::id(),
            number: BEGUN.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.process, self.number)
    }
}

/// The result of one partition.
#[derive(Clone, Debug)]
pub struct PartitionRun {
    /// The partition's value; empty for a query without partitions.
    pub partition: String,
    /// Whether its outputs were written.
    pub published: Published,
    /// How long it took to plan, compute and upload the partition.
    pub elapsed: Duration,
}

/// Whether a partition's outputs were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The outputs now hold this many rows.
    Rows(usize),
    /// The input has not changed since the outputs were written; they were not touched.
    Unchanged,
    /// The query yields no rows for the partition, and its outputs hold none.
    Nothing,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// One entry for each selected partition, in order.
    pub partitions: Vec<PartitionRun>,
    /// Version of the output table that this run committed, if it changed the table.
    pub version: Option<u64>,
    /// Addresses of the files of `output.jsonl`.
    pub files: Vec<String>,
}

/// A partition that is computed and not yet visible.
pub(crate) struct Computed {
    pub(crate) run: PartitionRun,
    pub(crate) key: PartitionKey,
    pub(crate) input: Input,
    pub(crate) freshness: Freshness,
    /// The uploaded data file of the output table; `None` when there are no rows to commit.
    pub(crate) file: Option<DataFile>,
}
