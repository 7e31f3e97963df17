//! `isobar dead-letters list`: the newest dead letters, or their number by topic and reason.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType};
use ingest::dead_letters;

use super::escape::printable;
use super::filter_args::FilterArgs;
use super::show::instant;
use crate::app::App;
use crate::format::{Format, Printer};
use crate::output::Output;
use crate::text::{self, Listing};

pub(super) const EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters list
  isobar dead-letters list --summary --since 7d
  isobar dead-letters list --reason wrong_type --reason missing_field --dt 2026-01-15
  isobar dead-letters list --source kafka --limit 1000 --format json | jq -r .letter";

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only dead letters of this topic
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// List at most so many
    #[arg(long, default_value_t = 20, conflicts_with = "summary")]
    limit: usize,
    /// Count dead letters by topic and reason
    #[arg(long)]
    summary: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl List {
    pub(super) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let session = app.session(&lake)?;
        let zone = app.config.time.zone;
        let filter = self.filter.filter(self.topic.clone(), zone)?;
        let (schema, rows) = if self.summary {
            dead_letters::summary(&session, &filter).await?
        } else {
            dead_letters::list(&session, &filter, Some(self.limit)).await?
        };
        if self.format != Format::Table {
            return print_all(self.format, &schema, &rows, out);
        }
        if rows.iter().all(|rows| rows.num_rows() == 0) {
            return out.line(format_args!("no such dead letters in {}", lake.root()));
        }
        if self.summary {
            out.print(summary_listing(&rows))
        } else {
            out.print(listing(&rows))
        }
    }
}

fn print_all(
    format: Format,
    schema: &SchemaRef,
    rows: &[RecordBatch],
    out: &mut Output,
) -> anyhow::Result<()> {
    let mut printer = Printer::new(format, Arc::clone(schema), usize::MAX);
    printer.begin(out)?;
    for rows in rows {
        printer.batch(rows, out)?;
    }
    printer.end(out)?;
    Ok(())
}

/// Characters of a detail that the list prints.
const DETAIL_CHARS: usize = 80;

fn listing(rows: &[RecordBatch]) -> Listing {
    let mut listing = Listing::new(["letter", "received_at", "source", "reason", "detail"]);
    for rows in rows {
        for row in 0..rows.num_rows() {
            let detail = printable(&text_at(rows, "detail", row));
            let mut shown: String = detail.chars().take(DETAIL_CHARS).collect();
            if shown.len() < detail.len() {
                shown.push('…');
            }
            listing.row([
                printable(&text_at(rows, "letter", row)),
                instant_at(rows, "received_at", row),
                text_at(rows, "source", row),
                text_at(rows, "reason", row),
                shown,
            ]);
        }
    }
    listing
}

fn summary_listing(rows: &[RecordBatch]) -> Listing {
    let mut listing = Listing::new([
        "topic",
        "reason",
        "dead letters",
        "first received",
        "last received",
    ]);
    for rows in rows {
        let counts = rows.column_by_name("letters");
        let counts = counts.and_then(|counts| counts.as_primitive_opt::<Int64Type>());
        for row in 0..rows.num_rows() {
            let count = counts.map_or(0, |counts| counts.value(row));
            listing.row([
                text_at(rows, "kafka_topic", row),
                text_at(rows, "reason", row),
                text::count(u64::try_from(count).unwrap_or_default()),
                instant_at(rows, "first_received_at", row),
                instant_at(rows, "last_received_at", row),
            ]);
        }
    }
    listing
}

/// The text in `column`, of any string type; empty where it is null.
fn text_at(rows: &RecordBatch, column: &str, row: usize) -> String {
    let column = rows.column_by_name(column);
    let text = column.and_then(|column| cast(&column.slice(row, 1), &DataType::Utf8).ok());
    let text = text.and_then(|text| {
        text.as_string::<i32>()
            .iter()
            .flatten()
            .next()
            .map(str::to_owned)
    });
    text.unwrap_or_default()
}

fn instant_at(rows: &RecordBatch, column: &str, row: usize) -> String {
    let column = rows.column_by_name(column);
    let instants = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    instants.map_or_else(String::new, |instants| instant(instants.value(row)))
}
