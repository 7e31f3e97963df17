//! Where the rows of a run go beside the output table: files of JSON Lines, and HBase.

pub mod hbase;
pub(crate) mod jsonl;
