//! The lake in a local directory.

mod completeness;
mod evolve;
#[path = "../../../crates/lake/tests/it/local.rs"]
mod local;
mod table_by_url;
