//! Flight SQL over the lake.
//!
//! Read the modules in the order of a request: [`run`] serves on listeners; `rpc` decodes a request
//! and `service` executes it, `actions` those that have a name; `metadata_service` answers requests
//! about the lake and the server, from `metadata`, `sql_info` and `type_info`. `statements` plans a
//! statement, `parameters` binds its values, `client_types` converts its columns to types that
//! every client reads, and `stream` sends its rows. `connections`, `admission`, `prepared` and a
//! `ticket` that the server need not remember bound everything that could exhaust memory. `status`
//! describes errors to the client.
//!
//! There are no sessions: between two requests the server keeps only prepared statements and plans.

mod actions;
mod admission;
mod budget;
mod client_types;
mod command;
mod connections;
mod error;
mod metadata;
mod metadata_service;
mod metrics;
mod parameters;
mod plan_cache;
mod prepared;
mod probe;
mod rpc;
mod server;
mod service;
mod session_options;
mod sql_info;
mod statements;
mod status;
mod stream;
mod ticket;
mod type_info;

pub use error::Error;
pub use server::{Limits, Listeners, Server, listen, run};
