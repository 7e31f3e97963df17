//! Errors that end the server. The error of one request is a status of gRPC.

use std::net::SocketAddr;

/// An attempt of the server that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "serve.flight_listen is {address}, which others can reach: Flight SQL has neither TLS nor tokens yet, so it listens on a loopback address only, such as 127.0.0.1:{}",
        address.port()
    )]
    NotLoopback { address: SocketAddr },
    #[error(transparent)]
    Service(#[from] service::Error),
    #[error("could not serve Flight SQL")]
    Flight(#[source] tonic::transport::Error),
    #[error("could not describe the SQL that is served")]
    Describe(#[source] arrow_flight::error::FlightError),
}
