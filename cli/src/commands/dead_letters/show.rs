//! `isobar dead-letters show`: one letter whole.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::bail;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use chrono::{DateTime, SecondsFormat};
use ingest::dead_letters::{self, Address, DeadLetter};

use super::escape::{escaped, printable};
use crate::app::App;
use crate::format::{self, Format};
use crate::output::Output;
use crate::text;

pub(super) const EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters show weather-api/0/1234
  isobar dead-letters show exports/dt=2026-01-15/weather_1768431600.json:12
  isobar dead-letters show weather-api/0/1234 --format json | jq .value
  isobar dead-letters show weather-api/0/1234 --raw > message";

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

impl Show {
    pub(super) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let session = app.session(&lake)?;
        let found = dead_letters::find(&session, &self.letter).await?;
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
            return format::print(self.format, &row(letter)?, out);
        }
        for (fact, value) in facts(letter) {
            out.line(format_args!("{fact:<11}  {value}"))?;
        }
        out.line(format_args!("\n{}", escaped(&letter.value)))
    }
}

fn facts(letter: &DeadLetter) -> Vec<(&'static str, String)> {
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
fn row(letter: &DeadLetter) -> anyhow::Result<RecordBatch> {
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

pub(super) fn instant(micros: i64) -> String {
    let instant = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
