//! The lake in a local directory.

mod completeness;
mod evolve;
mod local;
mod tables;
