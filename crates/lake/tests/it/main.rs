//! Tables in a local directory.

mod local;
mod tables;
mod time_travel;
