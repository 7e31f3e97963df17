//! The simulated API over HTTP.

use std::fmt;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::world::{Answer, Params, World};
use crate::openweather::ApiKey;

/// A simulated OpenWeather API. Clones share it.
#[derive(Clone)]
pub struct Simulator {
    world: Arc<World>,
    clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

impl Simulator {
    /// `seed` determines the weather, and `clock` the time. Other keys than `api_key` are refused.
    pub fn new(
        seed: u64,
        api_key: ApiKey,
        clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Self {
        Self {
            world: Arc::new(World::new(seed, api_key)),
            clock: Arc::new(clock),
        }
    }

    /// Serves until `shutdown`, and finishes the requests in progress.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let router = Router::new().fallback(get(respond)).with_state(self);
        axum::serve(listener, router)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("world", &self.world)
            .finish_non_exhaustive()
    }
}

/// The world routes the paths, so that tests can query it without a server.
async fn respond(
    State(simulator): State<Simulator>,
    uri: Uri,
    Query(params): Query<Params>,
) -> Answer {
    simulator
        .world
        .answer(uri.path(), &params, (simulator.clock)())
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.status).expect("the world answers with known statuses");
        (
            status,
            [(CONTENT_TYPE, "application/json; charset=utf-8")],
            self.body,
        )
            .into_response()
    }
}
