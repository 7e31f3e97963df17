//! The lake in a local directory.

mod tables;
