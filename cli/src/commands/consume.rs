//! `isobar consume`: copies messages from Kafka to PostgreSQL.

use std::time::Instant;

use pipeline::consume::{BatchLimits, ConsumeCounters, Consumed, Consumption, consume};
use service::Service;
use service::readiness::{ReadinessState, both};
use service::signals::Signals;
use tracing::info;

use crate::app::{App, VERSION};
use crate::output::Output;
use crate::readiness::{database_ready, topic_ready};
use crate::text;

/// Copy messages from Kafka into table `weather` in PostgreSQL, each exactly once
///
/// A message that is no JSON, or none that PostgreSQL can store, goes to isobar.dead_letters. A
/// table of the legacy pipeline is taken over with its rows. Health, readiness and metrics are
/// served over HTTP: /healthz, /readyz, /metrics.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Consume {
    /// End when the messages that are in Kafka now are in the table, instead of waiting for more
    #[arg(long)]
    pub(crate) once: bool,
    /// Skip messages that Kafka has deleted, and continue behind them
    #[arg(long)]
    accept_loss: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar consume
  isobar consume --once
  curl http://127.0.0.1:9466/readyz";

impl Consume {
    pub(crate) async fn run(
        &self,
        app: &App,
        signals: &Signals,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let config = &app.config.consume;
        let kafka = &app.config.kafka;
        let consumption = Consumption {
            kafka: app.kafka(&kafka.topic),
            postgres: app.postgres(),
            limits: BatchLimits {
                rows_max: config.rows_max,
                bytes_max: config.bytes_max.0,
                interval: config.interval,
                connections: config.connections,
            },
            once: self.once,
            accept_loss: self.accept_loss,
        };
        info!(
            from = %kafka.bootstrap_servers.join(","),
            topic = kafka.topic,
            into = %consumption.postgres.server(),
            "consuming"
        );
        let started = Instant::now();
        let service = if self.once {
            Service::without_http(VERSION)
        } else {
            Service::listen(VERSION, "consume.http_listen", config.http_listen).await?
        };
        let counters = ConsumeCounters::register(&service.metrics);
        let (state, shutdown) = (ReadinessState::default(), signals.token());
        let work = async {
            anyhow::Ok(Box::pin(consume(consumption, shutdown.clone(), &counters, &state)).await?)
        };
        let servers = both(
            topic_ready(&app.kafka(&kafka.topic)),
            database_ready(&app.postgres()),
        );
        let ready = both(state.readiness(), servers);
        let work = service.run(ready, shutdown.clone(), work);
        let work =
            signals.run_until_deadline("consume.shutdown_deadline", config.shutdown_deadline, work);
        let done = Box::pin(work).await?;
        let elapsed = text::seconds(started.elapsed());
        out.line(format_args!("{} in {elapsed}", summary(&done)))
    }
}

fn summary(done: &Consumed) -> String {
    format!(
        "{} inserted, {} refused, {} skipped in {}",
        text::counted(done.inserted, "message"),
        text::count(done.refused),
        text::count(done.repeated),
        text::counted(done.transactions, "transaction"),
    )
}
