//! Flight SQL over the lake.
//!
//! Read the modules in the order of a request: [`run`] serves on listeners, and `connections`
//! bounds them. `requests` decodes a request and executes it. `metadata` answers those about the
//! lake and the server. `statements` plans a statement, binds its values, and converts its columns
//! to types that every client reads. `execution` bounds the statements that run, and sends their
//! rows. `status` describes errors to the client, and `probe` checks that statements are answered.
//!
//! There are no sessions: between two requests the server keeps only prepared statements and plans.

mod connections;
mod error;
mod execution;
mod metadata;
mod metrics;
mod probe;
mod requests;
mod server;
mod statements;
mod status;

pub use error::Error;
pub use server::{Limits, Listeners, Server, listen, run};
