//! `isobar demo`: the whole pipeline on simulated weather, without any server installed.

mod simulation;
mod workspace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use config::FILE_NAME;
use flight_server::Listeners;
use ingest::land::LandingCounters;
use jobs::{PartitionSelection, Published, Report};
use lake::{Lake, PartitionKey};
use service::signals::Signals;

use crate::app::App;
use crate::commands::{land, run, serve, sql};
use crate::output::Output;
use crate::text;

/// Show the whole pipeline on simulated weather: no Kafka, no Hadoop, no key, no network
///
/// A simulated OpenWeather server is polled for some days of several cities, the messages are
/// landed as tables and aggregated, and the tables are served over Flight SQL until a signal.
/// All files are in one directory; a second run continues with the files that exist.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// End when the table is printed, instead of serving it
    #[arg(long)]
    pub(crate) once: bool,
    /// The directory of all files
    #[arg(long, value_name = "DIR", default_value = "isobar-demo")]
    dir: PathBuf,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar demo
  isobar demo --set serve.flight_listen=127.0.0.1:32011
  isobar demo --once --dir /tmp/weather";

/// The query that the demo runs.
const QUERY: &str = "weather/daily_weather_by_city";

/// The statement of the examples. It has no quotes, since a shell and Python quote it.
const STATEMENT: &str =
    "SELECT city, max(temp) AS hottest FROM weather GROUP BY city ORDER BY hottest DESC";

const ADDRESS_TAKEN: &str = "the demo could not open the addresses that it serves its tables on; stop what listens there, \
    choose other addresses (--set serve.flight_listen=127.0.0.1:0 --set serve.http_listen=127.0.0.1:0 takes free ones), \
    or end without serving (--once)";

const RESULT: &str = "\
SELECT dt, city, observations, round(temp_avg, 1) AS temp_avg, temp_min, temp_max,
       round(rain_1h_sum, 1) AS rain_1h_sum, round(aqi_avg, 1) AS aqi_avg
FROM daily_weather_by_city
ORDER BY dt, city";

impl Demo {
    pub(crate) async fn run(
        &self,
        app: &App,
        signals: &Signals,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let directory = app.directory.join(&self.dir);
        // The demo has a configuration of its own, and ignores the one that was loaded.
        let app = workspace::prepare(&directory, app)
            .with_context(|| format!("could not prepare {}", directory.display()))?;
        out.line(format_args!("Isobar's demo in {}\n", directory.display()))?;
        let lake = app.lake()?;
        // Before the work, so that an address that is taken ends the demo at once.
        let listeners = if self.once {
            None
        } else {
            Some(serve::listen(&app).await.context(ADDRESS_TAKEN)?)
        };

        let started = Instant::now();
        let exports = directory.join("weather");
        let simulated = simulation::export(&exports, app.progress);
        let simulated = Box::pin(signals.run_until_signal(simulated)).await?;
        step(out, "simulated", &simulated.to_string(), started)?;

        let started = Instant::now();
        let location = lake.stores().locate(&app.config.export.base_path)?;
        let landing = land::land_files(
            &app,
            &lake,
            &app.config.kafka.topic,
            location,
            false,
            LandingCounters::default(),
            signals.token(),
        );
        let landed = Box::pin(landing).await?;
        step(out, "landed", &land::summary(&landed, "file"), started)?;

        let started = Instant::now();
        let query = app.library()?.query(QUERY)?;
        let none = BTreeMap::new();
        let report = run::publish(&app, &query, &PartitionSelection::All, &none);
        let report = Box::pin(signals.run_until_signal(report)).await?;
        step(out, "aggregated", &outcome(&report), started)?;

        out.line("")?;
        Box::pin(sql::run_text(&app, RESULT, out)).await?;
        print_locations(&lake, &report, out).await?;
        let Some(listeners) = listeners else {
            return print_next_steps(&directory, out);
        };
        print_clients(&directory, &listeners, out)?;
        serve::serve(&app, lake, listeners, signals.token()).await
    }
}

fn step(out: &mut Output, what: &str, result: &str, started: Instant) -> anyhow::Result<()> {
    let elapsed = text::seconds(started.elapsed());
    out.line(format_args!("{what:<10}  {result}, {elapsed}"))?;
    out.flush()
}

fn outcome(report: &Report) -> String {
    let published = |run: &jobs::PartitionRun| match run.published {
        Published::Rows(rows) => rows as u64,
        Published::Unchanged | Published::Nothing => 0,
    };
    let rows: u64 = report.partitions.iter().map(published).sum();
    let days = text::counted(report.partitions.len() as u64, "day");
    if rows == 0 {
        format!("{days}, nothing has changed")
    } else {
        format!("{days}, {} published", text::counted(rows, "row"))
    }
}

/// Prints the locations of the tables and the results.
async fn print_locations(lake: &Lake, report: &Report, out: &mut Output) -> anyhow::Result<()> {
    out.line("\nThe tables")?;
    for snapshot in lake.readable().await? {
        let (files, bytes, rows) = snapshot.size();
        let rows = text::counted(rows.unwrap_or_default(), "row");
        let files = text::counted(files as u64, "file");
        let bytes = text::bytes(bytes);
        out.line(format_args!(
            "  {}  {rows}, {files}, {bytes}",
            snapshot.location()
        ))?;
    }
    let table = "daily_weather_by_city".parse()?;
    if let Some(snapshot) = lake.snapshot(&table).await? {
        out.line("The result's data files (Parquet)")?;
        let mut files: Vec<_> = snapshot
            .data_files(&PartitionKey::of(None, None))
            .map(|file| format!("  {}/{}", snapshot.location(), file.path()))
            .collect();
        files.sort();
        for file in files {
            out.line(file)?;
        }
    }
    out.line("The result as JSON Lines")?;
    for file in &report.files {
        out.line(format_args!("  {file}"))?;
    }
    Ok(())
}

/// Prints commands to try next; each works unchanged.
fn print_next_steps(directory: &Path, out: &mut Output) -> anyhow::Result<()> {
    let command_line = command_line(directory);
    out.line("\nTry next")?;
    out.line(format_args!("  {command_line} sql -c '{STATEMENT}'"))?;
    out.line(format_args!(
        "  {command_line} table describe weather_forecast"
    ))?;
    out.line(format_args!("  {command_line} run {QUERY} --all"))
}

/// Prints a command for each kind of client; each works unchanged while this process serves.
fn print_clients(directory: &Path, listeners: &Listeners, out: &mut Output) -> anyhow::Result<()> {
    let (flight, http) = (listeners.flight.local_addr()?, listeners.http.local_addr()?);
    out.line("\nServing the tables until Ctrl-C. From another shell")?;
    out.line(format_args!(
        "  {} sql -c '{STATEMENT}'",
        command_line(directory)
    ))?;
    out.line(format_args!(
        "  python3 -c 'from adbc_driver_flightsql import dbapi; cursor = dbapi.connect(\"grpc://{flight}\", autocommit=True).cursor(); cursor.execute(\"{STATEMENT}\"); print(*cursor.fetchall(), sep=\"\\n\")'"
    ))?;
    out.line(format_args!("  curl -sS http://{http}/metrics"))?;
    out.line("(Python needs: pip install adbc-driver-flightsql adbc-driver-manager pyarrow)")?;
    out.flush()
}

/// The command line that starts this program with the demo's configuration.
fn command_line(directory: &Path) -> String {
    let configuration = directory.join(FILE_NAME).display().to_string();
    let (program, configuration) = (shell_word(&program_name()), shell_word(&configuration));
    format!("{program} --config {configuration}")
}

/// The program as it was started: a path, or the name that the shell finds.
fn program_name() -> String {
    let argument = std::env::args_os().next().unwrap_or_default();
    match argument.to_str() {
        Some(path) if path.contains('/') => path.to_owned(),
        _ => "isobar".to_owned(),
    }
}

/// Quotes `text` as one word for a shell.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        for (text, word) in [
            ("/a/b-c.toml", "/a/b-c.toml"),
            ("/a b", "'/a b'"),
            ("/it's", r"'/it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
