//! `isobar export`: writes rows of PostgreSQL to export files.

use std::time::Instant;

use flight_server::http;
use ingest::export::{Export as Exporting, ExportCounters, ExportLimits, export};
use tracing::info;

use crate::app::App;
use crate::health::{Health, both, database_ready, service_ready};
use crate::output::Output;
use crate::signals::Signals;
use crate::text;

/// Write rows of table `weather` in PostgreSQL to files on HDFS, each once
///
/// Files are JSON Lines, weather_TIME.json below export.base_path, in the dt= directory of the
/// rows' day. `isobar land --from files` reads them. Health, readiness and metrics are served over
/// HTTP: /healthz, /readyz, /metrics.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// End when the rows that are in the table now are exported, instead of waiting for more
    #[arg(long)]
    pub(crate) once: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar export
  isobar export --once
  isobar export --once --set export.base_path=file:///srv/weather";

impl Export {
    pub(crate) async fn run(
        &self,
        app: &App,
        signals: &Signals,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let config = &app.config.export;
        let lake = app.lake()?;
        let exporting = Exporting {
            postgres: app.postgres(),
            topic: app.config.kafka.topic.clone(),
            into: app.base_path(&lake)?,
            zone: app.config.time.zone,
            limits: ExportLimits {
                rows_max: config.rows_max,
                bytes_max: config.bytes_max.0,
            },
            interval: config.interval,
            once: self.once,
        };
        info!(from = %exporting.postgres.server(), topic = exporting.topic, into = %exporting.into, "exporting");
        let started = Instant::now();
        let health = if self.once {
            Health::disabled()
        } else {
            Health::listen("export.http_listen", config.http_listen).await?
        }
        .with_storage_metrics(&lake);
        let servers = both(
            http::storage_ready(&exporting.into),
            database_ready(&exporting.postgres),
        );
        let counters = ExportCounters::register(&health.metrics);
        let (service, shutdown) = (ingest::health::Health::default(), signals.token());
        let ready = both(service_ready(&service), servers);
        let work =
            async { Ok(Box::pin(export(exporting, shutdown.clone(), &counters, &service)).await?) };
        let work = health.run_with(ready, shutdown.clone(), work);
        let work =
            signals.run_until_deadline("export.shutdown_deadline", config.shutdown_deadline, work);
        let done = Box::pin(work).await?;
        let elapsed = text::seconds(started.elapsed());
        out.line(format_args!(
            "{} exported to {} in {elapsed}",
            text::counted(done.rows, "row"),
            text::counted(done.files, "file"),
        ))
    }
}
