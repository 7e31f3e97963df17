//! `isobar land`: lands messages as rows of the declared tables.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use ingest::declaration::Declarations;
use ingest::land::{
    CommitLimits, Destination, FileLanding, KafkaLanding, LandingCounters, MemoryBudget,
    PostgresLanding, Progress, from_files, from_kafka, from_postgres,
};
use jobs::Library;
use lake::{Lake, Location};
use service::Service;
use service::readiness::{Readiness, ReadinessState, both};
use service::signals::Signals;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::app::{App, VERSION};
use crate::failure::Usage;
use crate::output::Output;
use crate::progress::Bar;
use crate::readiness::{database_ready, topics_ready};
use crate::text;

/// Land messages as rows of the lake's tables, each exactly once
///
/// Messages that are in the tables already are skipped, and malformed ones go to `dead_letters`.
/// Meanwhile health, readiness and metrics are served over HTTP at land.http_listen: /healthz,
/// /readyz, /metrics.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Land {
    /// Where the messages come from
    #[arg(long, value_enum)]
    from: Source,
    /// With `files`: a file of export lines, or a directory of such files: a path, file:// or
    /// hdfs://
    #[arg(required_if_eq("from", "files"), conflicts_with = "accept_loss")]
    path: Option<String>,
    /// The topic of the messages; with `kafka` repeatable. Without it, from `kafka` every topic
    /// that a table file declares, else that of the configuration
    #[arg(long)]
    topic: Vec<String>,
    /// End when the messages that are there now have landed, instead of waiting for more
    #[arg(long)]
    pub(crate) once: bool,
    /// With `kafka`: skip messages that Kafka has deleted, and continue behind them
    #[arg(long)]
    accept_loss: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar land --from files exports --once
  isobar land --from files exports/dt=2026-01-15/weather_1768431600.json --once
  isobar land --from files hdfs://namenode:8020/user/hdfs/weather
  isobar land --from kafka
  isobar land --from kafka --once
  isobar land --from kafka --topic weather-api --topic sensors
  isobar land --from postgres --once";

/// Where messages come from
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// Export files: JSON Lines with kafka_partition, kafka_offset, event_time and value
    Files,
    /// The topic itself, at kafka.bootstrap_servers (BOOTSTRAP_SERVERS)
    Kafka,
    /// Table `weather` in PostgreSQL, at postgres.host (POSTGRES_HOST), as `isobar consume` or the
    /// legacy pipeline filled it
    Postgres,
}

impl Source {
    /// The unit in which the source is read.
    fn unit(self) -> &'static str {
        match self {
            Self::Files => "file",
            Self::Kafka => "record",
            Self::Postgres => "row",
        }
    }
}

impl Land {
    pub(crate) async fn run(
        &self,
        app: &App,
        signals: &Signals,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        self.refuse_misplaced_options()?;
        let lake = app.lake()?;
        let started = Instant::now();
        let deadline = app.config.land.shutdown_deadline;
        let landing = Box::pin(self.land(app, &lake, signals.token()));
        let landing = signals.run_until_deadline("land.shutdown_deadline", deadline, landing);
        let done = landing.await?;
        let elapsed = text::seconds(started.elapsed());
        info!(
            landed = done.landed,
            refused = done.refused,
            skipped = done.skipped,
            files = done.files_done,
            records = done.records_done,
            commits = done.commits,
            elapsed,
            "landed"
        );
        out.line(format_args!(
            "{} in {elapsed}",
            summary(&done, self.from.unit())
        ))
    }

    /// Refuses combinations that clap cannot express: an option of one source, given with another.
    fn refuse_misplaced_options(&self) -> Result<(), Usage> {
        let misplaced = match (self.from, &self.path) {
            (Source::Kafka, Some(path)) => format!(
                "\"{path}\" is not understood: Kafka is found at kafka.bootstrap_servers (BOOTSTRAP_SERVERS), a topic is given by --topic"
            ),
            (Source::Postgres, Some(path)) => format!(
                "\"{path}\" is not understood: PostgreSQL is found at postgres.host (POSTGRES_HOST), the topic whose rows are landed is given by --topic"
            ),
            (Source::Postgres, None) if self.accept_loss => {
                "--accept-loss is for Kafka: it skips messages that Kafka has deleted, and PostgreSQL deletes none".to_owned()
            }
            (Source::Postgres | Source::Files, _) if self.topic.len() > 1 => {
                "only Kafka lands several topics at a time, so --topic can be given once; land each topic by itself".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Usage(misplaced))
    }

    async fn land(
        &self,
        app: &App,
        lake: &Arc<Lake>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Progress> {
        // Only for files and PostgreSQL; from Kafka the default is all declared topics.
        let topic = self.topic.first().unwrap_or(&app.config.kafka.topic);
        match self.from {
            Source::Kafka => self.land_kafka(app, lake, shutdown).await,
            Source::Postgres => self.land_postgres(app, lake, topic, shutdown).await,
            Source::Files => {
                let path = self.path.as_deref().unwrap_or_default();
                let place = lake
                    .stores()
                    .locate(&parse_location(path, &app.directory)?)?;
                let (service, counters) = self.listen(app, lake).await?;
                let watch = !self.once;
                let landing =
                    land_files(app, lake, topic, place, watch, counters, shutdown.clone());
                let ready = lake::storage_ready(lake.root());
                Box::pin(service.run(ready, shutdown, landing)).await
            }
        }
    }

    /// Opens the HTTP address of health and metrics, and registers the metrics.
    async fn listen(&self, app: &App, lake: &Lake) -> anyhow::Result<(Service, LandingCounters)> {
        let listening = Service::listen(VERSION, "land.http_listen", app.config.land.http_listen);
        let service = match listening.await {
            // Most likely a service listens on the address. A landing with --once works without it.
            Err(error) if self.once => {
                warn!("{error:#}; landing without health and metrics");
                Service::without_http(VERSION)
            }
            listening => listening?,
        };
        lake::register(&service.metrics, lake.stores());
        let counters = LandingCounters::register(&service.metrics);
        Ok((service, counters))
    }

    /// The topics to land from Kafka, each once: those that were named, else all that have tables.
    fn topics(&self, app: &App, declared: &Declarations) -> Vec<String> {
        let mut topics: Vec<String> = Vec::new();
        for topic in &self.topic {
            if !topics.contains(topic) {
                topics.push(topic.clone());
            }
        }
        if topics.is_empty() {
            topics = declared.topics().map(str::to_owned).collect();
        }
        if topics.is_empty() {
            // The landing then reports that nothing is declared for this topic.
            topics.push(app.config.kafka.topic.clone());
        }
        topics
    }

    async fn land_kafka(
        &self,
        app: &App,
        lake: &Arc<Lake>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Progress> {
        let (service, counters) = self.listen(app, lake).await?;
        let into = destination(app, lake, counters).await?;
        let topics = self.topics(app, &into.declarations);
        let kafka = app.kafka(&topics[0]);
        let state = ReadinessState::default();
        let servers = kafka.bootstrap_servers.join(",");
        info!(from = servers, topics = topics.join(","), into = %lake.root(), "landing");
        let landing = KafkaLanding {
            into,
            topics: topics.iter().map(|topic| app.kafka(topic)).collect(),
            health: state.clone(),
            once: self.once,
            accept_loss: self.accept_loss,
        };
        let servers_ready = both(
            lake::storage_ready(lake.root()),
            topics_ready(kafka, topics),
        );
        let ready = both(state.readiness(), servers_ready);
        let landing = async |shutdown, progress: &ProgressFn<'_>| {
            from_kafka(landing, shutdown, progress).await
        };
        land_records(app, service, ready, shutdown, landing).await
    }

    async fn land_postgres(
        &self,
        app: &App,
        lake: &Arc<Lake>,
        topic: &str,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Progress> {
        let postgres = app.postgres();
        let (service, counters) = self.listen(app, lake).await?;
        let ready = both(lake::storage_ready(lake.root()), database_ready(&postgres));
        info!(from = postgres.server(), topic, into = %lake.root(), "landing");
        let landing = PostgresLanding {
            into: destination(app, lake, counters).await?,
            postgres,
            topic: topic.to_owned(),
            legacy_topic: app.config.kafka.topic.clone(),
            once: self.once,
        };
        let landing = async |shutdown, progress: &ProgressFn<'_>| {
            from_postgres(landing, shutdown, progress).await
        };
        land_records(app, service, ready, shutdown, landing).await
    }
}

/// A function that is called with the progress of a landing.
type ProgressFn<'a> = dyn Fn(&Progress) + Sync + 'a;

/// Lands records with a progress bar, and serves health and metrics meanwhile.
async fn land_records(
    app: &App,
    service: Service,
    ready: Readiness,
    shutdown: CancellationToken,
    landing: impl AsyncFnOnce(CancellationToken, &ProgressFn<'_>) -> Result<Progress, ingest::Error>,
) -> anyhow::Result<Progress> {
    let bar = Bar::new(app.progress, "landing", 0, "messages");
    let progress = |progress: &Progress| {
        let total = progress.records_total.max(progress.records_done);
        bar.set(progress.records_done, total, String::new());
    };
    let landing = landing(shutdown.clone(), &progress);
    let landing = Box::pin(async { Ok(landing.await?) });
    service.run(ready, shutdown, landing).await
}

/// The configured destination of messages.
pub(crate) async fn destination(
    app: &App,
    lake: &Arc<Lake>,
    counters: LandingCounters,
) -> anyhow::Result<Destination> {
    let library = app.library()?;
    Ok(Destination {
        lake: Arc::clone(lake),
        session: app.session(lake)?,
        declarations: declarations(app, &library).await?,
        tables: library.root().join("tables"),
        zone: app.config.time.zone,
        limits: CommitLimits {
            rows_max: app.config.land.rows_max,
            bytes_max: app.config.land.bytes_max.0,
            interval: app.config.land.interval,
        },
        memory: MemoryBudget::default(),
        counters,
    })
}

/// A summary of a landing for people; `unit` names what was read.
pub(crate) fn summary(done: &Progress, unit: &str) -> String {
    // One of both is zero: files have no records, and other sources no files.
    let source = text::counted(done.files_done as u64 + done.records_done, unit);
    format!(
        "{} landed, {} refused, {} skipped from {source} in {}",
        text::counted(done.landed, "message"),
        text::count(done.refused),
        text::count(done.skipped),
        text::counted(done.commits, "commit"),
    )
}

/// Lands the export files of `topic` at `place`, with a progress bar.
pub(crate) async fn land_files(
    app: &App,
    lake: &Arc<Lake>,
    topic: &str,
    place: Location,
    watch: bool,
    counters: LandingCounters,
    shutdown: CancellationToken,
) -> anyhow::Result<Progress> {
    let landing = FileLanding {
        into: destination(app, lake, counters).await?,
        topic,
        place,
        watch,
    };
    info!(from = %landing.place, into = %lake.root(), watch, "landing");
    let bar = Bar::new(app.progress, "landing", 0, "bytes");
    let progress = |progress: &Progress| {
        let note = format!(
            "{} messages",
            text::count(progress.landed + progress.skipped)
        );
        bar.set(progress.bytes_done, progress.bytes_total, note);
    };
    Ok(from_files(landing, shutdown, &progress).await?)
}

/// The tables that the library declares.
pub(crate) async fn declarations(app: &App, library: &Library) -> anyhow::Result<Declarations> {
    let topic = &app.config.kafka.topic;
    Ok(Declarations::load(&library.table_files()?, topic, app.config.time.zone).await?)
}

/// Parses a location: an address if it has a scheme, else a path.
fn parse_location(text: &str, directory: &Path) -> anyhow::Result<Url> {
    if text.contains("://") {
        return Url::parse(text).with_context(|| format!("\"{text}\" is not an address"));
    }
    let url = Url::from_file_path(directory.join(text))
        .map_err(|()| anyhow!("\"{text}\" is not a path"))?;
    // Only parsing resolves `..`, which stores refuse.
    Ok(Url::parse(url.as_str())?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::parse_location;

    #[test]
    fn location_is_a_url_or_a_path() {
        let check = |text: &str, expected: &str| {
            let found = parse_location(text, Path::new("/srv")).expect(text);
            assert_eq!(found.as_str(), expected);
        };
        check("exports", "file:///srv/exports");
        check("../exports", "file:///exports");
        check("/a b", "file:///a%20b");
        check("file:///x", "file:///x");
        check("hdfs://nn:8020/x", "hdfs://nn:8020/x");
        assert!(parse_location("hdfs://:/", Path::new("/srv")).is_err());
    }
}
