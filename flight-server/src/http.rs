//! Health, readiness and metrics over HTTP, for any service of the house.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::lake::Location;
use engine::metrics::{CONTENT_TYPE, Metrics};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::status;

/// Who asks for readiness waits no longer, nor does what asks on their behalf. Longer than the limit of one call of a storage, whose
/// error says more.
const READINESS_MAX: Duration = Duration::from_secs(15);

/// Asks whether the service can do its work now; otherwise why not.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

#[derive(Clone)]
struct Service {
    ready: Readiness,
    metrics: Arc<Metrics>,
}

/// Ready means that the storage of `place` answers; a lake without tables is one.
pub fn place_answers(place: &Location) -> Readiness {
    let place = place.clone();
    Arc::new(move || {
        let place = place.clone();
        Box::pin(async move {
            let listed = place.directories().await;
            listed.map(drop).map_err(|error| status::told(&error))
        })
    })
}

/// Ready as long as `shutdown` has not come, and `ready` says so.
pub fn unless_stopping(shutdown: CancellationToken, ready: Readiness) -> Readiness {
    Arc::new(move || {
        if shutdown.is_cancelled() {
            let stopping = Err("the service is being stopped".to_owned());
            return std::future::ready(stopping).boxed();
        }
        ready()
    })
}

/// Opens the address that `key` of the configuration names.
///
/// # Errors
/// When it is taken, or not one of this machine.
pub async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Error::Listen {
        key,
        address,
        source,
    })
}

/// Answers `/healthz`, `/readyz` and `/metrics` on `listener` until `shutdown`.
///
/// # Errors
/// When the listener breaks.
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
        .with_state(Service { ready, metrics });
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(Error::Http),
        // What is asked at this moment is asked again.
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn readiness(State(service): State<Service>) -> Response {
    let asked = tokio::time::timeout(READINESS_MAX, (service.ready)()).await;
    let answered = asked.unwrap_or_else(|_elapsed| {
        Err(format!(
            "the servers that it needs did not answer within {} s",
            READINESS_MAX.as_secs()
        ))
    });
    match answered {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn exposition(State(service): State<Service>) -> Response {
    match service.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
