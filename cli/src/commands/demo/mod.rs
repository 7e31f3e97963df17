//! `isobar demo`: the whole way on simulated weather, with nothing installed.

mod simulation;
mod workspace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use engine::lake::{Lake, PartitionKey};
use engine::query::{Days, Published, Report};

use crate::app::App;
use crate::commands::{land, run, sql};
use crate::output::Output;
use crate::signals::Signals;
use crate::text;

/// Show the whole pipeline on simulated weather: no Kafka, no Hadoop, no key, no network
///
/// A simulated OpenWeather server is polled for some days of several cities, the messages are landed as
/// tables and aggregated. Everything lies in one directory; a second run goes on with what is there.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// End when the table is printed, as it does in this release anyway
    #[arg(long)]
    once: bool,
    /// Where everything is put
    #[arg(long, value_name = "DIR", default_value = "isobar-demo")]
    dir: PathBuf,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar demo
  isobar demo --once --dir /tmp/weather";

/// The aggregation that is shown.
const QUERY: &str = "weather/daily_weather_by_city";

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
        // The demo has a configuration of its own, whatever else is configured here.
        let app = workspace::prepare(&directory, app)
            .with_context(|| format!("could not prepare {}", directory.display()))?;
        out.line(format_args!("Isobar's demo in {}\n", directory.display()))?;
        let lake = app.lake()?;

        let started = Instant::now();
        let exports = directory.join("weather");
        let simulated = simulation::export(&exports, app.show);
        let simulated = Box::pin(signals.interrupting(simulated)).await?;
        step(out, "simulated", &simulated.to_string(), started)?;

        let started = Instant::now();
        let place = lake.stores().locate(&app.config.export.base_path)?;
        let landing = land::land_files(
            &app,
            &lake,
            &app.config.kafka.topic,
            place,
            false,
            signals.token(),
        );
        let landed = Box::pin(landing).await?;
        step(out, "landed", &land::summary(&landed), started)?;

        let started = Instant::now();
        let query = app.library()?.query(QUERY)?;
        let none = BTreeMap::new();
        let report = run::publish(&app, &query, &Days::All, &none);
        let report = Box::pin(signals.interrupting(report)).await?;
        step(out, "aggregated", &outcome(&report), started)?;

        out.line("")?;
        Box::pin(sql::answer(&app, RESULT, out)).await?;
        places(&lake, &report, out).await?;
        offers(&directory, out)
    }
}

fn step(out: &mut Output, what: &str, result: &str, started: Instant) -> anyhow::Result<()> {
    let elapsed = text::seconds(started.elapsed());
    out.line(format_args!("{what:<10}  {result}, {elapsed}"))?;
    out.flush()
}

fn outcome(report: &Report) -> String {
    let published = |run: &engine::query::PartitionRun| match run.published {
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

/// Where what was made lies.
async fn places(lake: &Lake, report: &Report, out: &mut Output) -> anyhow::Result<()> {
    out.line("\nThe tables")?;
    for name in lake.tables().await? {
        if let Some(snapshot) = lake.snapshot(&name).await? {
            let (files, bytes, rows) = snapshot.size();
            let rows = text::counted(rows.unwrap_or_default(), "row");
            let files = text::counted(files as u64, "file");
            let bytes = text::bytes(bytes);
            out.line(format_args!(
                "  {}  {rows}, {files}, {bytes}",
                snapshot.location()
            ))?;
        }
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

/// What to try next; each line works as it stands.
fn offers(directory: &Path, out: &mut Output) -> anyhow::Result<()> {
    let isobar = format!(
        "{} --config {}",
        shell_word(&own_name()),
        shell_word(&directory.join("isobar.toml").display().to_string())
    );
    out.line("\nTry next")?;
    out.line(format_args!(
        "  {isobar} sql -c 'SELECT city, max(temp) AS hottest FROM weather GROUP BY city ORDER BY hottest DESC'"
    ))?;
    out.line(format_args!("  {isobar} table describe weather_forecast"))?;
    out.line(format_args!("  {isobar} run {QUERY} --all"))
}

/// How this program was called: by a path, or by a name that the shell finds.
fn own_name() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    match called.to_str() {
        Some(path) if path.contains('/') => path.to_owned(),
        _ => "isobar".to_owned(),
    }
}

/// `text` as one word of a shell's line.
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
    fn paths_are_words_of_the_shell() {
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
