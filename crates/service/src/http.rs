//! Health, readiness and metrics over HTTP, for every service of Isobar.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::readiness::Readiness;

/// Time limit of a readiness check. It is longer than that of a call of the storage, whose error
/// says more.
const READINESS_MAX: Duration = Duration::from_secs(15);

#[derive(Clone)]
struct HttpState {
    ready: Readiness,
    metrics: Arc<Metrics>,
}

/// Listens on `address`, which `key` of the configuration sets.
///
/// # Errors
/// When the address is taken, or not one of this machine.
pub async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Error::Listen {
        key,
        address,
        source,
    })
}

/// Serves `/healthz`, `/readyz` and `/metrics` on `listener` until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn run(
    listener: TcpListener,
    ready: Readiness,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(exposition))
        .with_state(HttpState { ready, metrics });
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(Error::Http),
        // A request that is in flight is dropped: probes and scrapers repeat theirs.
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn readiness(State(service): State<HttpState>) -> Response {
    let checked = tokio::time::timeout(READINESS_MAX, (service.ready)()).await;
    let outcome = checked.unwrap_or_else(|_elapsed| {
        Err(format!(
            "the servers that it needs did not answer within {} s",
            READINESS_MAX.as_secs()
        ))
    });
    match outcome {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn exposition(State(service): State<HttpState>) -> Response {
    match service.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
