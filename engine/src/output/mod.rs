//! Where the rows of a run go.

pub mod hbase;
pub(crate) mod jsonl;
