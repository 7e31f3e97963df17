//! Scans: a snapshot of the lake as a table of DataFusion.

mod adapter;
mod late;
mod provider;
mod pruning;
mod readers;

pub use self::provider::{InputFile, LakeTable};
