//! `isobar run`: runs a query file.

use std::collections::BTreeMap;

use anyhow::bail;
use chrono::NaiveDate;
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use jobs::{PartitionRun, PartitionSelection, Published, QueryFile, Report, Runner, parse_date};
use tokio_util::task::AbortOnDropHandle;

use super::Args;
use crate::app::App;
use crate::global::key_value;
use crate::limit::Limit;
use crate::output::Output;
use crate::progress::Bar;
use crate::text::{self, Listing};

/// Run a query file and publish its rows
///
/// A partition whose input has not changed since it was published is not published again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    /// Path below the directory of queries, without `.sql`; `isobar query list` shows them
    #[arg(value_name = "QUERY")]
    name: String,
    /// Only the partition of this day
    #[arg(long, value_name = "DAY", value_parser = day, conflicts_with_all = ["from", "to", "all", "changed"])]
    dt: Option<NaiveDate>,
    /// The partitions from this day …
    #[arg(long, value_name = "DAY", value_parser = day, requires = "to", conflicts_with_all = ["all", "changed"])]
    from: Option<NaiveDate>,
    /// … to this day, both included
    #[arg(long, value_name = "DAY", value_parser = day, requires = "from", conflicts_with_all = ["all", "changed"])]
    to: Option<NaiveDate>,
    /// Every partition that the input has, or that the output still has
    #[arg(long, conflicts_with = "changed")]
    all: bool,
    /// Every partition whose input has changed
    #[arg(long)]
    changed: bool,
    /// Give a parameter of the query a value; repeatable
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = key_value)]
    params: Vec<(String, String)>,
}

const EXAMPLES: &str = "\
Without --dt, --from, --all or --changed: today's partition, or every one if run.only_today
(MR_PROCESS_ONLY_TODAY) is false.

EXAMPLES:
  isobar run weather/daily_weather_by_city
  isobar run weather/daily_weather_by_city --dt 2026-01-15
  isobar run weather/daily_weather_by_city --from 2026-01-01 --to 2026-01-31
  isobar run weather/daily_weather_by_city --all";

pub(crate) fn day(text: &str) -> Result<NaiveDate, String> {
    parse_date("day", text).map_err(|_| "expected a day that exists, such as 2026-01-15".to_owned())
}

impl Run {
    pub(crate) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let selection = self.selection(app.config.run.only_today);
        let query = app.library()?.query(&self.name)?;
        let arguments: BTreeMap<String, String> = self.params.iter().cloned().collect();
        let report = publish(app, &query, &selection, &arguments).await?;
        print(&report, out)
    }

    fn selection(&self, only_today: bool) -> PartitionSelection {
        match (self.dt, self.from, self.to) {
            (Some(day), ..) => PartitionSelection::One(day),
            (_, Some(from), Some(to)) if from > to => {
                let message = format!("--to {to} lies before --from {from}");
                Args::command()
                    .error(ErrorKind::ValueValidation, message)
                    .exit()
            }
            (_, Some(from), Some(to)) => PartitionSelection::Range(from, to),
            // An unchanged partition is not published again, so --all and --changed select the
            // same.
            _ if self.all || self.changed || !only_today => PartitionSelection::All,
            _ => PartitionSelection::Today,
        }
    }
}

/// Runs `query` with a progress bar.
pub(crate) async fn publish(
    app: &App,
    query: &QueryFile,
    selection: &PartitionSelection,
    arguments: &BTreeMap<String, String>,
) -> anyhow::Result<Report> {
    let lake = app.lake()?;
    let session = app.session(&lake)?;
    for table in session.tables_of(&query.statement).await? {
        if lake.snapshot(&table).await?.is_none() {
            bail!(
                "query \"{}\" reads table \"{table}\", which is not in the lake at {}; land it first with `isobar land`",
                query.name,
                lake.root()
            );
        }
    }
    let runner = Runner {
        base_path: app.base_path(&lake)?,
        zone: app.config.time.zone,
        hbase: app.hbase(),
        lake,
        session,
    };
    let limit = Limit::new("run.timeout", app.config.run.timeout);
    let bar = Bar::new(app.progress, "computing", 0, "partitions");
    let (query, selection, arguments) = (query.clone(), selection.clone(), arguments.clone());
    // A run may be aborted at any moment: no reader sees its rows before its commit.
    let work = AbortOnDropHandle::new(tokio::spawn(Box::pin(async move {
        let progress = |_: &PartitionRun| bar.step();
        runner.run(&query, &selection, &arguments, &progress).await
    })));
    Ok(limit.within(work).await???)
}

pub(crate) fn print(report: &Report, out: &mut Output) -> anyhow::Result<()> {
    if report.partitions.is_empty() {
        return out.line("no partitions to compute");
    }
    let mut listing = Listing::new(["partition", "outcome", "time"]);
    for run in &report.partitions {
        listing.row([
            run.partition.clone(),
            match run.published {
                Published::Rows(0) => "emptied".to_owned(),
                Published::Rows(rows) => format!("published {}", text::counted(rows as u64, "row")),
                Published::Unchanged => "unchanged".to_owned(),
                Published::Nothing => "nothing to publish".to_owned(),
            },
            text::seconds(run.elapsed),
        ]);
    }
    out.print(listing)?;
    for file in &report.files {
        out.line(file)?;
    }
    Ok(())
}
