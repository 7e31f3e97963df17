//! `isobar produce`: sends the weather of cities to Kafka as messages.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use pipeline::openweather::{self, ApiKey, City, Client};
use pipeline::produce::{Options, Produced, Producer, Topic};
use service::Service;
use service::readiness::Readiness;
use service::signals::Signals;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::{App, VERSION};
use crate::failure::report;
use crate::output::Output;
use crate::text;

/// Poll OpenWeather for each city, and send a message a city to Kafka
///
/// Polls at once and then every openweather.interval, until a signal. Messages wait in a spool on
/// disk while Kafka is unavailable. Health, readiness and metrics are served over HTTP: /healthz,
/// /readyz, /metrics.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Produce {
    /// Poll once, and end when Kafka has the messages
    #[arg(long)]
    pub(crate) once: bool,
    /// Poll once and print the messages as JSON lines; neither Kafka nor the spool is touched
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
  OPENWEATHER_API_KEY=… isobar produce
  CITY='Paris;London,GB;2988507;48.85,2.35' isobar produce --once
  isobar produce --dry-run | head -1
  curl http://127.0.0.1:9465/readyz";

impl Produce {
    /// Whether the command runs until a signal.
    pub(crate) fn is_service(&self) -> bool {
        !self.once && !self.dry_run
    }

    pub(crate) async fn run(
        &self,
        app: &App,
        signals: &Signals,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let cities = cities(&app.config.openweather.cities)?;
        if self.dry_run {
            let printed = print(openweather_options(app)?, &cities, out);
            return Box::pin(signals.run_until_signal(printed)).await;
        }
        let topic = app.config.kafka.topic.clone();
        let servers = app.config.kafka.bootstrap_servers.join(",");
        let options = options(app, cities)?;
        let spool = options.spool.display().to_string();
        let count = options.cities.len();
        let producer = Arc::new(Producer::open(options)?);
        info!(cities = count, topic, to = servers, spool, "producing");
        let produced = if self.once {
            Box::pin(producer.once(&signals.token())).await?
        } else {
            Box::pin(serve(&producer, app, signals.token())).await?
        };
        out.line(format_args!(
            "{} produced to topic {topic}, {} waiting",
            text::counted(produced.delivered, "message"),
            text::count(produced.waiting as u64)
        ))
    }
}

/// Runs the producer, and serves health, readiness and metrics.
async fn serve(
    producer: &Arc<Producer>,
    app: &App,
    shutdown: CancellationToken,
) -> anyhow::Result<Produced> {
    let service = Service::listen(
        VERSION,
        "produce.http_listen",
        app.config.produce.http_listen,
    )
    .await?;
    producer.register(&service.metrics);
    let producing = async { Ok(producer.run(shutdown.clone()).await?) };
    service
        .run(readiness(producer), shutdown.clone(), producing)
        .await
}

/// Ready when the producer polls cities and Kafka accepts the messages.
fn readiness(producer: &Arc<Producer>) -> Readiness {
    let producer = Arc::clone(producer);
    Arc::new(move || {
        let problem = producer.problem();
        Box::pin(async move { problem.map_or(Ok(()), Err) })
    })
}

/// Prints the messages that would be sent.
async fn print(
    options: openweather::Options,
    cities: &[City],
    out: &mut Output,
) -> anyhow::Result<()> {
    let client = Client::new(options)?;
    let mut failed = 0;
    let mut observations = std::pin::pin!(client.observe_all(cities));
    while let Some((_, observed)) = observations.next().await {
        match observed {
            Ok(observation) => out.line(observation.message.to_json())?,
            Err(failure) => {
                report(&failure);
                failed += 1;
            }
        }
        out.flush()?;
    }
    if failed > 0 {
        bail!("could not poll {failed} of {} cities", cities.len());
    }
    Ok(())
}

fn options(app: &App, cities: Vec<City>) -> anyhow::Result<Options> {
    let produce = &app.config.produce;
    let spool = produce
        .spool_path
        .clone()
        .or_else(|| Some(app.state_directory.as_ref()?.join("spool")))
        .context("there is no directory for the spool, because HOME is not set; set produce.spool_path (ISOBAR__PRODUCE__SPOOL_PATH)")?;
    Ok(Options {
        openweather: openweather_options(app)?,
        cities,
        interval: app.config.openweather.interval,
        topic: Topic {
            kafka: app.kafka(&app.config.kafka.topic),
            partitions: produce.topic_partitions,
            replication: produce.topic_replication,
            retention: produce.topic_retention,
            compression: produce.compression.as_str(),
        },
        spool,
        spool_bytes_max: produce.spool_bytes_max.0,
        shutdown_deadline: produce.shutdown_deadline,
    })
}

fn openweather_options(app: &App) -> anyhow::Result<openweather::Options> {
    let config = &app.config.openweather;
    let key = config.api_key.as_ref().context(
        "there is no key for the OpenWeather API; set openweather.api_key (OPENWEATHER_API_KEY, or OPENWEATHER_API_KEY_FILE)",
    )?;
    Ok(openweather::Options {
        units: config.units.as_str().parse()?,
        language: config.language.clone(),
        calls_per_minute: NonZeroU32::new(config.calls_per_minute),
        ..openweather::Options::new(config.base_url.clone(), ApiKey::new(key.expose()))
    })
}

/// Parses the configured cities, and refuses duplicates.
fn cities(configured: &[String]) -> anyhow::Result<Vec<City>> {
    let mut seen = HashSet::new();
    let mut cities = Vec::new();
    for text in configured {
        let city: City = text
            .parse()
            .context("openweather.cities (CITY) was refused")?;
        if !seen.insert(city.to_string()) {
            bail!("openweather.cities (CITY) names \"{city}\" twice");
        }
        cities.push(city);
    }
    Ok(cities)
}

#[cfg(test)]
mod tests {
    use super::cities;

    #[test]
    fn cities_are_parsed_in_every_form_and_duplicates_refused() {
        let check = |configured: &[&str], expected: Result<&[&str], &str>| {
            let configured: Vec<String> = configured.iter().map(ToString::to_string).collect();
            match (cities(&configured), expected) {
                (Ok(found), Ok(expected)) => {
                    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                    assert_eq!(found, expected);
                }
                (Err(error), Err(part)) => {
                    assert!(format!("{error:#}").contains(part), "{error:#}");
                }
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        };
        check(
            &["Paris", "London, gb", "2988507", "48.85, 2.35"],
            Ok(&["Paris", "London,GB", "2988507", "48.85,2.35"]),
        );
        check(&["London,gb", "London,GB"], Err("\"London,GB\" twice"));
        check(&["Paris,France"], Err("CITY"));
        check(&["Paris,France"], Err("two-letter country code"));
    }
}
