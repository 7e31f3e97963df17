//! Runs of queries over a lake in a local directory.

#[path = "../../../lake/tests/it/local.rs"]
mod local;
mod runs;
