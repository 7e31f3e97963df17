//! Runs of queries over a lake in a local directory.

#[path = "../../../../engine/tests/it/local.rs"]
mod local;
mod runs;
