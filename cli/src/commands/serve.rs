//! `isobar serve`: serves the lake to clients of Flight SQL.

use std::sync::Arc;

use flight_server::{Limits, Listeners, Server};
use lake::Lake;
use query_service::QueryService;
use service::http;
use service::metrics::Metrics;
use service::signals::Signals;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::{App, VERSION};

/// Serve the tables over Arrow Flight SQL, until a signal
///
/// Clients are Python (ADBC), JDBC and anything else that speaks Flight SQL; no statement of theirs
/// changes a table. Health, readiness and metrics are served over HTTP: /healthz, /readyz,
/// /metrics.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar serve
  isobar serve --set serve.flight_listen=127.0.0.1:32011
  curl http://127.0.0.1:9464/readyz";

impl Serve {
    pub(crate) async fn run(&self, app: &App, signals: &Signals) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let listeners = listen(app).await?;
        serve(app, lake, listeners, signals.token()).await
    }
}

/// Listens on the configured addresses.
pub(crate) async fn listen(app: &App) -> anyhow::Result<Listeners> {
    let config = &app.config.serve;
    Ok(Listeners {
        flight: flight_server::listen(config.flight_listen).await?,
        http: http::listen("serve.http_listen", config.http_listen).await?,
    })
}

/// Serves the tables of `lake` until `shutdown`.
pub(crate) async fn serve(
    app: &App,
    lake: Arc<Lake>,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    info!(
        flight = %listeners.flight.local_addr()?,
        http = %listeners.http.local_addr()?,
        lake = %lake.root(),
        "serving"
    );
    let config = &app.config.serve;
    let metrics = Metrics::new(VERSION);
    lake::register(&metrics, lake.stores());
    engine::metrics::register(&metrics, &app.runtime()?);
    let threads = app.runtime()?.start_threads()?;
    let limits = query_service::Limits {
        query_timeout: config.query_timeout,
        queries_max: config.queries_max,
        prepared_max: config.prepared_max,
    };
    let session = app.session_for_statements(&lake)?;
    let server = Server {
        queries: QueryService::new(session, limits, threads.handles(), &metrics),
        lake,
        limits: Limits {
            connections_max: config.connections_max,
            shutdown_deadline: config.shutdown_deadline,
        },
        metrics,
        version: VERSION,
    };
    let served = Box::pin(flight_server::run(server, listeners, shutdown)).await;
    threads.shutdown_background();
    Ok(served?)
}
