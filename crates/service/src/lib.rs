//! The lifecycle of a long-running part of the process: its metrics, its readiness over HTTP, its
//! restarts after transient failures, and its end.
//!
//! A command assembles a [`Service`], registers metrics, and runs its work with it. Its parts are
//! public for a service with listeners of its own. [`fail`] names the steps at which tests kill the
//! process.

mod error;
mod error_chain;
pub mod fail;
pub mod http;
pub mod metrics;
pub mod readiness;
pub mod retry;
mod service;
pub mod signals;

pub use error::{Error, Interrupted};
pub use error_chain::{error_chain, error_chain_led_by};
pub use service::Service;
