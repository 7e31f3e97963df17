//! `isobar export`: writes rows of PostgreSQL to export files.

use std::time::Instant;

use pipeline::export::{Export as Exporting, ExportCounters, ExportLimits, export};
use service::Service;
use service::readiness::{ReadinessState, both};
use service::signals::Signals;
use tracing::info;

use crate::app::{App, VERSION};
use crate::output::Output;
use crate::readiness::database_ready;
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
        let service = if self.once {
            Service::without_http(VERSION)
        } else {
            Service::listen(VERSION, "export.http_listen", config.http_listen).await?
        };
        lake::register(&service.metrics, lake.stores());
        let servers = both(
            lake::storage_ready(&exporting.into),
            database_ready(&exporting.postgres),
        );
        let counters = ExportCounters::register(&service.metrics);
        let (state, shutdown) = (ReadinessState::default(), signals.token());
        let ready = both(state.readiness(), servers);
        let work = async {
            anyhow::Ok(Box::pin(export(exporting, shutdown.clone(), &counters, &state)).await?)
        };
        let work = service.run(ready, shutdown.clone(), work);
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
