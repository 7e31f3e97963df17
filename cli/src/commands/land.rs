//! `isobar land`: messages become rows of the declared tables.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use engine::lake::{Lake, Location};
use engine::query::Library;
use ingest::declaration::Declarations;
use ingest::land::{FileLanding, Limits, Progress, from_files};
use tokio_util::sync::CancellationToken;
use tracing::info;
use url::Url;

use crate::app::App;
use crate::output::Output;
use crate::progress::Bar;
use crate::signals::Signals;
use crate::text;

/// Land messages as rows of the lake's tables, each exactly once
///
/// Messages that are in the tables already are skipped; what is malformed goes to `dead_letters`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Land {
    /// Where the messages come from
    #[arg(long, value_enum)]
    from: Source,
    /// A file of export lines, or a directory of such files: a path, file:// or hdfs://
    path: String,
    /// The topic that the messages are of, if not that of the configuration
    #[arg(long)]
    topic: Option<String>,
    /// End when what is there has landed, instead of waiting for more
    #[arg(long)]
    pub(crate) once: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar land --from files exports --once
  isobar land --from files exports/dt=2026-01-15/weather_1768431600.json --once
  isobar land --from files hdfs://namenode:8020/user/hdfs/weather";

/// Where messages come from
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// Export files: JSON Lines with kafka_partition, kafka_offset, event_time and value
    Files,
}

impl Land {
    pub(crate) async fn run(
        &self,
        app: &App,
        signals: &Signals,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let Source::Files = self.from;
        let lake = app.lake()?;
        let place = lake
            .stores()
            .locate(&address(&self.path, &app.directory)?)?;
        let started = Instant::now();
        let topic = self.topic.as_ref().unwrap_or(&app.config.kafka.topic);
        let landing = land_files(app, &lake, topic, place, !self.once, signals.token());
        let done = Box::pin(landing).await?;
        let elapsed = text::seconds(started.elapsed());
        info!(
            landed = done.landed,
            refused = done.refused,
            skipped = done.skipped,
            files = done.files_done,
            commits = done.commits,
            elapsed,
            "landed"
        );
        out.line(format_args!("{} in {elapsed}", summary(&done)))
    }
}

/// What a landing did, for a person.
pub(crate) fn summary(done: &Progress) -> String {
    format!(
        "{} landed, {} refused, {} skipped from {} in {}",
        text::counted(done.landed, "message"),
        text::count(done.refused),
        text::count(done.skipped),
        text::counted(done.files_done as u64, "file"),
        text::counted(done.commits, "commit"),
    )
}

/// Lands the export files of `topic` at `place` with progress on the screen.
pub(crate) async fn land_files(
    app: &App,
    lake: &Arc<Lake>,
    topic: &str,
    place: Location,
    watch: bool,
    shutdown: CancellationToken,
) -> anyhow::Result<Progress> {
    let library = app.library()?;
    let landing = FileLanding {
        lake,
        session: &app.session(lake)?,
        declarations: &declarations(app, &library).await?,
        tables: &library.root().join("tables"),
        topic,
        zone: app.config.time.zone,
        place,
        limits: Limits {
            rows_max: app.config.land.rows_max,
            bytes_max: app.config.land.bytes_max.0,
            interval: app.config.land.interval,
        },
        watch,
    };
    info!(from = %landing.place, into = %lake.root(), watch, "landing");
    let bar = Bar::new(app.show, "landing", 0, "bytes");
    let progress = |progress: &Progress| {
        let note = format!(
            "{} messages",
            text::count(progress.landed + progress.skipped)
        );
        bar.at(progress.bytes_done, progress.bytes_total, note);
    };
    Ok(from_files(landing, shutdown, &progress).await?)
}

/// The tables that the library declares.
pub(crate) async fn declarations(app: &App, library: &Library) -> anyhow::Result<Declarations> {
    let topic = &app.config.kafka.topic;
    Ok(Declarations::load(library, topic, app.config.time.zone).await?)
}

/// What a person calls a place: an address if it has a scheme, else a path.
fn address(text: &str, directory: &Path) -> anyhow::Result<Url> {
    if text.contains("://") {
        return Url::parse(text).with_context(|| format!("\"{text}\" is not an address"));
    }
    let url = Url::from_file_path(directory.join(text))
        .map_err(|()| anyhow!("\"{text}\" is not a path"))?;
    // Only parsing resolves `..`, which no store takes.
    Ok(Url::parse(url.as_str())?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::address;

    #[test]
    fn a_place_is_an_address_or_a_path() {
        let check = |text: &str, expected: &str| {
            let found = address(text, Path::new("/work")).expect(text);
            assert_eq!(found.as_str(), expected);
        };
        check("exports", "file:///work/exports");
        check("../exports", "file:///exports");
        check("/a b", "file:///a%20b");
        check("file:///x", "file:///x");
        check("hdfs://nn:8020/x", "hdfs://nn:8020/x");
        assert!(address("hdfs://:/", Path::new("/work")).is_err());
    }
}
