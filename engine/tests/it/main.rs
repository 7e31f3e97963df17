//! The lake in a local directory.

mod completeness;
mod runs;
mod tables;
