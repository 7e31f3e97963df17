//! Where the rows of a run go, and rows as people and scripts read them.

pub mod hbase;
pub mod json;
pub(crate) mod jsonl;
pub mod text;
