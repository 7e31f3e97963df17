//! Flight SQL over the lake, and HTTP beside it for health and metrics.
//!
//! Read it along the way of a request: [`run`] takes listeners and serves them; `rpc` takes a request apart and
//! `service` does what it asks for, `actions` what it asks for by name; questions about the lake are `answers`,
//! from `metadata`, `sql_info` and `type_info`; a statement is planned in `statements`, with values bound by
//! `parameters` and columns in types that every client reads (`wire`), and its rows leave through `stream`. Everything that
//! a client could use to exhaust memory is bounded: `connections`, `admission`, `prepared`, and a `ticket` that the server need not
//! remember. `status` says to the client what went wrong.
//!
//! There is no session: nothing but prepared statements is kept between two requests.

mod actions;
mod admission;
mod answers;
mod budget;
mod connections;
mod error;
pub mod http;
mod metadata;
mod metrics;
mod options;
mod parameters;
mod plans;
mod prepared;
mod probe;
mod rpc;
mod server;
mod service;
mod sql_info;
mod statements;
mod status;
mod stream;
mod ticket;
mod type_info;
mod wire;

pub use error::Error;
pub use server::{Limits, Listeners, Server, listen, run};
