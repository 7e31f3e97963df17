//! `isobar serve`: the lake for clients of Flight SQL.

use engine::metrics::Metrics;
use flight_server::{Limits, Listeners, Server, http};
use tracing::info;

use crate::STACK_BYTES;
use crate::app::App;
use crate::signals::Signals;

/// Serve the tables over Arrow Flight SQL, until a signal
///
/// Python (ADBC), JDBC and whatever else speaks Flight SQL can ask; nothing they send changes a table.
/// Health, readiness and metrics are served over HTTP: /healthz, /readyz, /metrics.
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
        let config = &app.config.serve;
        let lake = app.lake()?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        metrics.watch(lake.stores());
        let listeners = Listeners {
            flight: flight_server::listen(config.flight_listen).await?,
            http: http::listen("serve.http_listen", config.http_listen).await?,
        };
        info!(
            flight = %listeners.flight.local_addr()?,
            http = %listeners.http.local_addr()?,
            lake = %lake.root(),
            "serving"
        );
        let queries = tokio::runtime::Builder::new_multi_thread()
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let server = Server {
            session: app.session(&lake)?,
            lake,
            limits: Limits {
                query_timeout: config.query_timeout,
                queries_max: config.queries_max,
                prepared_max: config.prepared_max,
                shutdown_deadline: config.shutdown_deadline,
            },
            metrics,
            queries: queries.handle().clone(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let served = Box::pin(flight_server::run(server, listeners, signals.token())).await;
        // A statement that was cancelled may still compute; it ends with the process.
        queries.shutdown_background();
        served?;
        Ok(())
    }
}
