//! The lake in a local directory.

mod evolve;
mod runs;
mod tables;
