//! Where the rows of a run go.

pub(crate) mod jsonl;
