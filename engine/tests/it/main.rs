//! The lake in a local directory.

mod runs;
mod tables;
