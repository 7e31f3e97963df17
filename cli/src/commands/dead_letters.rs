//! `isobar dead-letters`: refused messages, listed, shown, and landed once their table's declaration is mended.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use arrow::array::{ArrayRef, AsArray as _, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use clap::Subcommand;
use ingest::land::{Counters, Replay, Replayed, replay};
use ingest::letters::{self, Address, Filter, Letter};

use crate::app::App;
use crate::commands::land;
use crate::format::{Format, Printer};
use crate::output::Output;
use crate::progress::Bar;
use crate::text::{self, Listing};

/// List, show and replay refused messages
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum DeadLetters {
    /// List the newest letters, or count them by topic and reason
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Show one letter whole, with its bytes
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Judge letters again: those that are well-formed now become rows, each once, and are letters no more
    ///
    /// For when a table's declaration has been mended. Letters that are malformed still stay as they are. Start services
    /// that land the topic again first: they keep the declaration that they were started with.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Again),
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters list --summary
  isobar dead-letters list --reason wrong_type --limit 5
  isobar dead-letters show weather-api/0/1234
  isobar dead-letters replay --dry-run";

const LIST_EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters list
  isobar dead-letters list --summary --since 7d
  isobar dead-letters list --reason wrong_type --reason missing_field --dt 2026-01-15
  isobar dead-letters list --source kafka --limit 1000 --format json | jq -r .letter";

const SHOW_EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters show weather-api/0/1234
  isobar dead-letters show exports/dt=2026-01-15/weather_1768431600.json:12
  isobar dead-letters show weather-api/0/1234 --format json | jq .value
  isobar dead-letters show weather-api/0/1234 --raw > message";

const REPLAY_EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters replay --dry-run
  isobar dead-letters replay
  isobar dead-letters replay --reason implausible_temperature --since 2026-01-15

The exit code is 1 if letters could not be judged, which are then named: a letter from Kafka has no
time without its record, which Kafka may have deleted.";

/// Which letters.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only letters with this reason; repeatable, then with any of them
    #[arg(long)]
    reason: Vec<String>,
    /// Only letters from this source: `files` or `kafka`
    #[arg(long)]
    source: Option<String>,
    /// Only letters received since then: a day, an instant, or as long ago as `90m`, `12h`, `7d`
    #[arg(long, value_name = "WHEN", value_parser = since, conflicts_with = "dt")]
    since: Option<Since>,
    /// Only letters received on this day, in time.zone
    #[arg(long, value_name = "DAY", value_parser = super::run::day)]
    dt: Option<NaiveDate>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only letters of this topic
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    which: Which,
    /// List at most so many
    #[arg(long, default_value_t = 20, conflicts_with = "summary")]
    limit: usize,
    /// Count letters by topic and reason
    #[arg(long)]
    summary: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// As `isobar dead-letters list` names it: topic/partition/offset, or path:line
    #[arg(value_name = "LETTER")]
    letter: Address,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the bytes of the message and nothing else
    #[arg(long, conflicts_with = "format")]
    raw: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Again {
    /// The topic of the letters, if not that of the configuration
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    which: Which,
    /// Say what would land, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A moment, told as a day, as an instant or by how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Day(NaiveDate),
    Instant(DateTime<Utc>),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(day) = super::run::day(text) {
        return Ok(Since::Day(day));
    }
    if let Ok(instant) = text.parse::<DateTime<Utc>>() {
        return Ok(Since::Instant(instant));
    }
    let ago = humantime::parse_duration(text).map(Since::Ago);
    ago.map_err(|_| {
        "expected a day such as 2026-01-15, an instant such as 2026-01-15T10:00:00Z, or a time such as 12h".to_owned()
    })
}

impl Since {
    fn instant(self, zone: Tz) -> anyhow::Result<DateTime<Utc>> {
        match self {
            Self::Day(day) => begins(day, zone),
            Self::Instant(instant) => Ok(instant),
            Self::Ago(ago) => {
                let then = TimeDelta::from_std(ago).ok();
                let then = then.and_then(|ago| Utc::now().checked_sub_signed(ago));
                // Longer ago than there are instants: everything.
                Ok(then.unwrap_or(DateTime::<Utc>::MIN_UTC))
            }
        }
    }
}

/// When `day` begins in `zone`: at its first moment, where clocks skip midnight too.
fn begins(day: NaiveDate, zone: Tz) -> anyhow::Result<DateTime<Utc>> {
    let midnight = day.and_time(chrono::NaiveTime::MIN);
    let first = (0..=24 * 4).find_map(|quarters| {
        let local = midnight + TimeDelta::minutes(15 * quarters);
        zone.from_local_datetime(&local).earliest()
    });
    let first = first.ok_or_else(|| anyhow!("{day} has no beginning in {zone}"))?;
    Ok(first.to_utc())
}

impl Which {
    fn filter(&self, topic: Option<String>, zone: Tz) -> anyhow::Result<Filter> {
        let next = self.dt.and_then(|day| day.succ_opt());
        let since = match (self.dt, self.since) {
            (Some(day), _) => Some(begins(day, zone)?),
            (None, since) => since.map(|since| since.instant(zone)).transpose()?,
        };
        Ok(Filter {
            topic,
            reasons: self.reason.clone(),
            source: self.source.clone(),
            since,
            until: next.map(|next| begins(next, zone)).transpose()?,
        })
    }
}

impl DeadLetters {
    pub(crate) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(app, out).await,
            Self::Show(show) => show.run(app, out).await,
            Self::Replay(again) => Box::pin(again.run(app, out)).await,
        }
    }
}

impl List {
    async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let session = app.session(&lake)?;
        let zone = app.config.time.zone;
        let filter = self.which.filter(self.topic.clone(), zone)?;
        let (schema, rows) = if self.summary {
            letters::summary(&session, &filter).await?
        } else {
            letters::list(&session, &filter, Some(self.limit)).await?
        };
        if self.format != Format::Table {
            return print_all(self.format, &schema, &rows, out);
        }
        if rows.iter().all(|rows| rows.num_rows() == 0) {
            return out.line(format_args!("no such letters in {}", lake.root()));
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

/// Characters of a detail that a list shows.
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
        "letters",
        "first received",
        "last received",
    ]);
    for rows in rows {
        let letters = rows.column_by_name("letters");
        let letters = letters.and_then(|letters| letters.as_primitive_opt::<Int64Type>());
        for row in 0..rows.num_rows() {
            let count = letters.map_or(0, |letters| letters.value(row));
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

fn text_at(rows: &RecordBatch, column: &str, row: usize) -> String {
    let column = rows.column_by_name(column);
    let texts = column.and_then(|column| column.as_string_opt::<i32>());
    let text = texts.and_then(|texts| texts.iter().nth(row).flatten());
    text.unwrap_or_default().to_owned()
}

fn instant_at(rows: &RecordBatch, column: &str, row: usize) -> String {
    let column = rows.column_by_name(column);
    let instants = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    instants.map_or_else(String::new, |instants| instant(instants.value(row)))
}

fn instant(micros: i64) -> String {
    let instant = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Show {
    async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let session = app.session(&lake)?;
        let found = letters::find(&session, &self.letter).await?;
        let letter = match found.as_slice() {
            [letter] => letter,
            [] => bail!(
                "there is no dead letter {}; `isobar dead-letters list` names those that there are",
                self.letter
            ),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|letter| format!("{} ({})", letter.address(), letter.reason))
                    .collect();
                bail!(
                    "{} dead letters are at {}: {}; ask `isobar sql` for them, by the columns that tell them apart",
                    several.len(),
                    self.letter,
                    names.join(", ")
                );
            }
        };
        if self.raw {
            return out.write(|out| std::io::Write::write_all(out, &letter.value));
        }
        if self.format != Format::Table {
            return crate::format::print(self.format, &row(letter)?, out);
        }
        for (fact, value) in facts(letter) {
            out.line(format_args!("{fact:<11}  {value}"))?;
        }
        out.line(format_args!("\n{}", escaped(&letter.value)))
    }
}

fn facts(letter: &Letter) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("letter", printable(&letter.address().to_string())),
        ("received at", instant(letter.received_us)),
        ("source", letter.source.clone()),
        ("topic", letter.topic.clone()),
    ];
    if let Some((partition, offset)) = letter.identity {
        facts.push(("partition", partition.to_string()));
        facts.push(("offset", offset.to_string()));
    }
    if let Some((path, line)) = &letter.place {
        facts.push(("line", format!("{}:{line}", printable(path))));
    }
    facts.push(("reason", letter.reason.clone()));
    facts.push(("detail", printable(&letter.detail)));
    let kind = match str::from_utf8(&letter.value) {
        Ok(_) => "",
        Err(_) => ", not UTF-8: other bytes are shown as \\x..",
    };
    facts.push((
        "value",
        format!("{}{kind}", text::counted(letter.value.len() as u64, "byte")),
    ));
    facts
}

/// The letter as one row, its value as text if it is, else in hexadecimal.
fn row(letter: &Letter) -> anyhow::Result<RecordBatch> {
    let text = |value: Option<String>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let (partition, offset) = letter.identity.unzip();
    let (path, line) = letter.place.clone().unzip();
    let value = String::from_utf8(letter.value.to_vec()).ok();
    let hex = value.is_none().then(|| {
        letter.value.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    });
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("letter", text(Some(letter.address().to_string())), false),
        (
            "received_at",
            text(Some(instant(letter.received_us))),
            false,
        ),
        ("source", text(Some(letter.source.clone())), false),
        ("kafka_topic", text(Some(letter.topic.clone())), false),
        (
            "kafka_partition",
            Arc::new(Int32Array::from(vec![partition])) as ArrayRef,
            true,
        ),
        (
            "kafka_offset",
            Arc::new(Int64Array::from(vec![offset])) as ArrayRef,
            true,
        ),
        ("path", text(path), true),
        (
            "line",
            Arc::new(Int64Array::from(vec![line])) as ArrayRef,
            true,
        ),
        ("reason", text(Some(letter.reason.clone())), false),
        ("detail", text(Some(letter.detail.clone())), false),
        ("value", text(value), true),
        ("value_hex", text(hex), true),
    ])?)
}

/// Text for a terminal, on one line: what a message holds must not move the cursor or set colours.
fn printable(text: &str) -> String {
    escape(text, |_| false)
}

/// Bytes for a terminal: text as it is, with its line ends and tabs, and everything else as escapes.
fn escaped(value: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in value.utf8_chunks() {
        shown.push_str(&escape(chunk.valid(), |char| matches!(char, '\n' | '\t')));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && !is_kept(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// Letters that are named when they cannot be judged.
const NAMED_MAX: usize = 20;

impl Again {
    async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let topic = self.topic.as_ref().unwrap_or(&app.config.kafka.topic);
        let started = Instant::now();
        let filter = self.which.filter(None, app.config.time.zone)?;
        let bar = Bar::new(app.show, "replaying", 0, "letters");
        let progress = |replayed: &Replayed| {
            let note = format!("{} landed", text::count(replayed.landed));
            bar.at(replayed.judged, 0, note);
        };
        let done = Replay {
            into: land::destination(app, &lake, Counters::default()).await?,
            kafka: app.kafka(topic),
            filter,
            dry_run: self.dry_run,
        };
        let done = replay(done, &progress).await?;
        drop(bar);
        for (table, rows) in done.rows.iter().filter(|(_, rows)| **rows > 0) {
            let rows = text::counted(*rows, "row");
            let what = if self.dry_run { "would get" } else { "got" };
            out.line(format_args!("{table} {what} {rows}"))?;
        }
        for (letter, why) in done.unjudged.iter().take(NAMED_MAX) {
            let letter = printable(&letter.to_string());
            out.line(format_args!("{letter} stays: {why}"))?;
        }
        let elapsed = text::seconds(started.elapsed());
        out.line(format_args!("{} in {elapsed}", self.summary(&done)))?;
        out.flush()?;
        match done.unjudged.len() as u64 {
            0 => Ok(()),
            count => bail!(
                "{} could not be judged and stay; if the messages are in export files, land those (`isobar land --from files`)",
                text::counted(count, "letter")
            ),
        }
    }

    fn summary(&self, done: &Replayed) -> String {
        let landed = if self.dry_run { "would land" } else { "landed" };
        format!(
            "{}: {} {landed}, {} had landed already, {} malformed still, {} not judged",
            text::counted(done.judged, "letter"),
            text::count(done.landed),
            text::count(done.present),
            text::count(done.malformed),
            text::count(done.unjudged.len() as u64),
        )
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use chrono_tz::Tz;

    use super::{Since, begins, escaped, printable, since};

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("a\u{1b}[31m\nb é"), "a\\u{1b}[31m\\nb é");
        assert_eq!(escaped(b"a\tb\n\x1b\xff\xc3\xa9"), "a\tb\n\\u{1b}\\xffé");
    }

    #[test]
    fn a_moment_is_a_day_an_instant_or_a_time_ago() {
        assert!(matches!(since("2026-01-15"), Ok(Since::Day(_))));
        assert!(matches!(
            since("2026-01-15T10:00:00Z"),
            Ok(Since::Instant(_))
        ));
        assert!(matches!(since("7d"), Ok(Since::Ago(_))));
        assert!(since("2026-02-30").is_err() && since("soon").is_err());
    }

    #[test]
    fn a_day_begins_where_its_zone_says() {
        let check = |day: &str, zone: Tz, expected: &str| {
            let begins = begins(day.parse().expect(day), zone).expect(day);
            assert_eq!(begins, expected.parse::<DateTime<Utc>>().expect(expected));
        };
        check("2026-01-15", Tz::Europe__Paris, "2026-01-14T23:00:00Z");
        check("2026-07-15", Tz::Europe__Paris, "2026-07-14T22:00:00Z");
        // Clocks skip midnight.
        check("2026-04-24", Tz::Africa__Cairo, "2026-04-23T22:00:00Z");
    }
}
