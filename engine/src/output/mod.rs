//! Outputs of runs, and result rows as text and JSON.

pub mod hbase;
pub mod json;
pub(crate) mod jsonl;
pub mod text;
