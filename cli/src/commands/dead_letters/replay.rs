//! `isobar dead-letters replay`: validates dead letters again, and lands them.

use std::time::Instant;

use anyhow::bail;
use ingest::land::{self, LandingCounters, ReplaySources, Replayed};

use super::escape::printable;
use super::filter_args::FilterArgs;
use crate::app::App;
use crate::commands::land::destination;
use crate::output::Output;
use crate::progress::Bar;
use crate::text;

pub(super) const EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters replay --dry-run
  isobar dead-letters replay
  isobar dead-letters replay --reason implausible_temperature --since 2026-01-15

The exit code is 1 if dead letters could not be validated, which the output names: one from Kafka or
PostgreSQL needs its record or row for the event time, and those may have been deleted.";

#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The topic of the dead letters, if not that of the configuration
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Print what would land, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Limit of the dead letters that the command names because they cannot be validated.
const NAMED_MAX: usize = 20;

impl Replay {
    pub(super) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let topic = self.topic.as_ref().unwrap_or(&app.config.kafka.topic);
        let started = Instant::now();
        let filter = self.filter.filter(None, app.config.time.zone)?;
        let bar = Bar::new(app.progress, "replaying", 0, "dead letters");
        let progress = |replayed: &Replayed| {
            let note = format!("{} landed", text::count(replayed.landed));
            bar.set(replayed.validated, 0, note);
        };
        let replay = land::Replay {
            into: destination(app, &lake, LandingCounters::default()).await?,
            sources: ReplaySources {
                kafka: app.kafka(topic),
                postgres: app.postgres(),
            },
            filter,
            dry_run: self.dry_run,
        };
        let done = land::replay(replay, &progress).await?;
        drop(bar);
        for (table, rows) in done.rows.iter().filter(|(_, rows)| **rows > 0) {
            let rows = text::counted(*rows, "row");
            let what = if self.dry_run { "would get" } else { "got" };
            out.line(format_args!("{table} {what} {rows}"))?;
        }
        for (dead_letter, reason) in done.not_validated.iter().take(NAMED_MAX) {
            let dead_letter = printable(&dead_letter.to_string());
            out.line(format_args!("{dead_letter} stays: {reason}"))?;
        }
        let elapsed = text::seconds(started.elapsed());
        out.line(format_args!("{} in {elapsed}", self.summary(&done)))?;
        out.flush()?;
        match done.not_validated.len() as u64 {
            0 => Ok(()),
            count => bail!(
                "{} could not be validated and stay; if the messages are in export files, land those (`isobar land --from files`)",
                text::counted(count, "dead letter")
            ),
        }
    }

    fn summary(&self, done: &Replayed) -> String {
        let landed = if self.dry_run { "would land" } else { "landed" };
        format!(
            "{}: {} {landed}, {} had landed already, {} still malformed, {} not validated",
            text::counted(done.validated, "dead letter"),
            text::count(done.landed),
            text::count(done.present),
            text::count(done.malformed),
            text::count(done.not_validated.len() as u64),
        )
    }
}
