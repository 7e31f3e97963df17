//! Flight SQL over the lake.
//!
//! Read the modules in the order of a request: [`run`] serves on listeners, and `connections`
//! bounds them. `requests` decodes a request, has the query service execute its statement, and
//! encodes the rows. `metadata` answers those about the lake and the server. `status` describes
//! errors to the client, and `metrics` counts connections.
//!
//! There are no sessions: between two requests the server keeps nothing, and the query service only
//! prepared statements and plans.

mod connections;
mod error;
mod metadata;
mod metrics;
mod requests;
mod server;
mod status;

pub use error::Error;
pub use server::{Limits, Listeners, Server, listen, run};
