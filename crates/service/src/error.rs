//! What can fail around a service.

use std::net::SocketAddr;
use std::time::Duration;

/// SIGINT or SIGTERM ended the work.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// An attempt to run a service that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "could not listen on {address}; set {key} to a free address of this machine, with port 0 for any that is free"
    )]
    Listen {
        key: &'static str,
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("could not serve health and metrics over HTTP")]
    Http(#[source] std::io::Error),
    #[error(
        "the current batch was not finished within {} of the signal ({key}); the next start repeats what is not committed",
        humantime::format_duration(*deadline)
    )]
    DeadlinePassed {
        key: &'static str,
        deadline: Duration,
    },
}
