//! Requests of Flight: `rpc` decodes each to a `command`, and `service` executes it, `actions`
//! those that have a name. A `ticket` carries a statement from one request to the next, with the
//! values of its `parameters`, and `rows` encodes its result. `session_options` answers the actions
//! about options.

mod actions;
mod command;
mod parameters;
mod rows;
mod rpc;
pub(crate) mod service;
mod session_options;
mod ticket;
