//! `isobar dead-letters show`: all of one dead letter.

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
    address: Address,
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
        let found = dead_letters::find(&session, &self.address).await?;
        let dead_letter = match found.as_slice() {
            [dead_letter] => dead_letter,
            [] => bail!(
                "there is no dead letter {}; `isobar dead-letters list` names the existing ones",
                self.address
            ),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|dead_letter| {
                        format!("{} ({})", dead_letter.address(), dead_letter.reason)
                    })
                    .collect();
                bail!(
                    "{} dead letters are at {}: {}; select them with `isobar sql`, by the columns that differ",
                    several.len(),
                    self.address,
                    names.join(", ")
                );
            }
        };
        if self.raw {
            return out.write(|out| std::io::Write::write_all(out, &dead_letter.value));
        }
        if self.format != Format::Table {
            return format::print(self.format, &row(dead_letter)?, out);
        }
        for (fact, value) in facts(dead_letter) {
            out.line(format_args!("{fact:<11}  {value}"))?;
        }
        out.line(format_args!("\n{}", escaped(&dead_letter.value)))
    }
}

fn facts(dead_letter: &DeadLetter) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("dead letter", printable(&dead_letter.address().to_string())),
        ("received at", instant(dead_letter.received_us)),
        ("source", dead_letter.source.clone()),
        ("topic", dead_letter.topic.clone()),
    ];
    if let Some((partition, offset)) = dead_letter.identity {
        facts.push(("partition", partition.to_string()));
        facts.push(("offset", offset.to_string()));
    }
    if let Some((path, line)) = &dead_letter.place {
        facts.push(("line", format!("{}:{line}", printable(path))));
    }
    facts.push(("reason", dead_letter.reason.clone()));
    facts.push(("detail", printable(&dead_letter.detail)));
    let kind = match str::from_utf8(&dead_letter.value) {
        Ok(_) => "",
        Err(_) => ", not UTF-8: other bytes are shown as \\x..",
    };
    facts.push((
        "value",
        format!(
            "{}{kind}",
            text::counted(dead_letter.value.len() as u64, "byte")
        ),
    ));
    facts
}

/// The dead letter as one row, with its value as text, or in hexadecimal if it is not UTF-8.
fn row(dead_letter: &DeadLetter) -> anyhow::Result<RecordBatch> {
    let text = |value: Option<String>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let (partition, offset) = dead_letter.identity.unzip();
    let (path, line) = dead_letter.place.clone().unzip();
    let value = String::from_utf8(dead_letter.value.to_vec()).ok();
    let hex = value.is_none().then(|| {
        dead_letter
            .value
            .iter()
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    });
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "letter",
            text(Some(dead_letter.address().to_string())),
            false,
        ),
        (
            "received_at",
            text(Some(instant(dead_letter.received_us))),
            false,
        ),
        ("source", text(Some(dead_letter.source.clone())), false),
        ("kafka_topic", text(Some(dead_letter.topic.clone())), false),
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
        ("reason", text(Some(dead_letter.reason.clone())), false),
        ("detail", text(Some(dead_letter.detail.clone())), false),
        ("value", text(value), true),
        ("value_hex", text(hex), true),
    ])?)
}

pub(super) fn instant(micros: i64) -> String {
    let instant = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
