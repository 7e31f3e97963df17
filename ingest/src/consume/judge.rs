//! Which records become rows and which dead letters.
//!
//! A message is judged as everywhere in the house, so that it meets the same verdict on every road, and then by what JSONB
//! cannot hold. What it says is not looked at: that is for the tables of the lake.

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Utc};
use memchr::memmem;

use super::batch::{Message, Verdict};
use crate::message::Judge;
use crate::postgres::NUL_CHARACTER;
use crate::source::{Positions, Record, Records};

/// Records that were read together, judged.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) messages: Vec<Message>,
    pub(crate) positions: Positions,
    /// Of the values.
    pub(crate) bytes: u64,
}

impl Judged {
    /// In parts, of which each has all that is of a topic partition.
    pub(crate) fn split(self, parts: usize) -> Vec<Self> {
        let place = |partition: i32| partition.unsigned_abs() as usize % parts;
        let empty = || Self {
            messages: Vec::new(),
            positions: Positions::new(),
            bytes: 0,
        };
        let mut split: Vec<Self> = std::iter::repeat_with(empty).take(parts).collect();
        for message in self.messages {
            let part = &mut split[place(message.partition)];
            part.bytes += message.value.len() as u64;
            part.messages.push(message);
        }
        for (partition, next) in self.positions {
            split[place(partition)].positions.insert(partition, next);
        }
        split
    }
}

/// Judges records.
#[derive(Debug, Default)]
pub(crate) struct Judging(Judge);

impl Judging {
    pub(crate) fn judge(&mut self, records: &Records) -> Judged {
        let messages = records.list.iter().map(|record| {
            let value = record.value.clone().map(|range| records.bytes.slice(range));
            Message {
                partition: record.partition,
                offset: record.offset,
                verdict: self.verdict(record, value.as_ref()),
                value: value.unwrap_or_default(),
            }
        });
        Judged {
            messages: messages.collect(),
            positions: records.positions.clone(),
            bytes: records.bytes.len() as u64,
        }
    }

    fn verdict(&mut self, record: &Record, value: Option<&Bytes>) -> Verdict {
        let letter = |reason, detail: &str| Verdict::Letter {
            reason,
            detail: detail.to_owned(),
        };
        let Some(value) = value else {
            return letter("empty", "the record has no value");
        };
        let Some(event_time) = record.timestamp_ms.and_then(event_time) else {
            return letter("unreadable_event_time", "the record has no timestamp");
        };
        if let Err(refusal) = self.0.judge(value) {
            return letter(refusal.reason.text(), &refusal.detail);
        }
        if let Some(at) = nul(value) {
            let detail = format!("byte {at}: \\u0000, which JSONB cannot hold");
            return letter(NUL_CHARACTER, &detail);
        }
        Verdict::Row { event_time }
    }
}

/// The instant, if it can be written with a year of four digits.
fn event_time(timestamp_ms: i64) -> Option<DateTime<Utc>> {
    let instant = DateTime::from_timestamp_millis(timestamp_ms)?;
    (1..=9998).contains(&instant.year()).then_some(instant)
}

/// Where a well-formed message has an escaped NUL.
fn nul(message: &[u8]) -> Option<usize> {
    memmem::find_iter(message, r"\u0000").find(|at| {
        // Only an escape if the backslash is not escaped itself.
        let before = message[..*at].iter().rev();
        before.take_while(|byte| **byte == b'\\').count() % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Judging, nul};
    use crate::consume::batch::Verdict;
    use crate::source::Record;

    #[test]
    fn records_become_rows_or_dead_letters() {
        let mut judging = Judging::default();
        let mut check = |timestamp_ms, value: Option<&'static str>, expected: Option<&str>| {
            let record = Record {
                partition: 0,
                offset: 7,
                timestamp_ms,
                key: None,
                value: None,
            };
            let bytes = value.map(|value| Bytes::from_static(value.as_bytes()));
            let found = match judging.verdict(&record, bytes.as_ref()) {
                Verdict::Row { .. } => None,
                Verdict::Letter { reason, .. } => Some(reason),
            };
            assert_eq!(found, expected, "{value:?}");
        };
        let now = Some(1_768_431_600_000);
        check(now, Some(r#"{"a":1}"#), None);
        check(now, Some(r#"{"a":"\\u0000"}"#), None);
        check(now, Some(r#"{"a":"\u0000"}"#), Some("nul_character"));
        check(now, Some(r#"{"a":NaN}"#), Some("invalid_json"));
        check(now, Some(r#"{"a":"\ud83d"}"#), Some("lone_surrogate"));
        check(now, Some(r#"{"a":"#), Some("invalid_json"));
        check(now, None, Some("empty"));
        check(None, Some("{}"), Some("unreadable_event_time"));
        check(Some(i64::MAX), Some("{}"), Some("unreadable_event_time"));
        check(Some(-1), Some("{}"), None);
    }

    #[test]
    fn an_escaped_backslash_escapes_nothing() {
        let check = |text: &str, expected| assert_eq!(nul(text.as_bytes()), expected, "{text}");
        check(r#""\u0000""#, Some(1));
        check(r#""\\u0000""#, None);
        check(r#""\\\u0000""#, Some(3));
        check(r#""\\u0000 \u0000""#, Some(9));
        check(r#""\u0001 u0000""#, None);
    }
}
