//! Statements of clients over the lake, whatever protocol they arrive by.
//!
//! A server of one protocol decodes the requests of its clients, calls a [`QueryService`], and maps
//! [`Error::code`] to the codes of its protocol. It describes a [`Statement`], prepares it, binds
//! values to it as record batches, and executes it. The rows go through an encoder of the protocol,
//! which runs in the task of the statement. All servers of a process share one service, and with it
//! the limits.
//!
//! Read the modules in the order of a statement: `service` is the API. `statements` plans a
//! statement, binds its values, and converts its columns to types that every client reads.
//! `execution` bounds the statements that run, and streams their rows. `metrics` counts them,
//! `error` and `code` say what failed, and `probe` checks that statements are answered.
//!
//! Between two requests the service keeps only prepared statements and plans.

mod code;
mod error;
mod execution;
mod metrics;
mod probe;
mod service;
mod statements;

pub use code::ErrorCode;
pub use error::Error;
pub use execution::result_stream::{ResultStream, Rows};
pub use service::{Limits, QueryService};
pub use statements::client_types::ClientTypes;
pub use statements::description::Description;
pub use statements::statement::{Statement, StatementId};
