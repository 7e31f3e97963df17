//! Decides which records become rows in PostgreSQL, and which dead letters.
//!
//! The validator is that of the landing, so that every source accepts the same messages. JSONB
//! refuses some of these, which become dead letters too. The content of a message is not checked
//! here: the tables of the lake do that.

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, Utc};
use connections::postgres::NUL_CHARACTER;
use connections::records::{Positions, Record, Records};
use ingest::message::Validator;
use memchr::memmem;

use super::batch::{Disposition, ValidatedMessage};

/// A block of records, each with its disposition.
#[derive(Debug)]
pub(crate) struct Validated {
    /// In the order of reading.
    pub(crate) messages: Vec<ValidatedMessage>,
    /// Next offset of each topic partition after this block.
    pub(crate) positions: Positions,
    /// Bytes of the values.
    pub(crate) bytes: u64,
}

impl Validated {
    /// Splits the block. All messages of a topic partition are in the same part.
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

/// Validates records.
#[derive(Debug, Default)]
pub(crate) struct RecordValidator(Validator);

impl RecordValidator {
    pub(crate) fn validate(&mut self, records: &Records) -> Validated {
        let messages = records.list.iter().map(|record| {
            let value = record.value.clone().map(|range| records.bytes.slice(range));
            ValidatedMessage {
                partition: record.partition,
                offset: record.offset,
                disposition: self.disposition(record, value.as_ref()),
                value: value.unwrap_or_default(),
            }
        });
        Validated {
            messages: messages.collect(),
            positions: records.positions.clone(),
            bytes: records.bytes.len() as u64,
        }
    }

    fn disposition(&mut self, record: &Record, value: Option<&Bytes>) -> Disposition {
        let dead_letter = |reason, detail: &str| Disposition::DeadLetter {
            reason,
            detail: detail.to_owned(),
        };
        let Some(value) = value else {
            return dead_letter("empty", "the record has no value");
        };
        let Some(event_time) = record.timestamp_ms.and_then(event_time) else {
            return dead_letter("unreadable_event_time", "the record has no timestamp");
        };
        if let Err(refusal) = self.0.validate(value) {
            return dead_letter(refusal.reason.text(), &refusal.detail);
        }
        if let Some(at) = escaped_nul(value) {
            let detail = format!("byte {at}: \\u0000, which JSONB cannot hold");
            return dead_letter(NUL_CHARACTER, &detail);
        }
        Disposition::Row { event_time }
    }
}

/// The instant, if its year has at most four digits.
fn event_time(timestamp_ms: i64) -> Option<DateTime<Utc>> {
    let instant = DateTime::from_timestamp_millis(timestamp_ms)?;
    (1..=9998).contains(&instant.year()).then_some(instant)
}

/// Offset in bytes of the first escaped NUL of a well-formed message.
fn escaped_nul(message: &[u8]) -> Option<usize> {
    memmem::find_iter(message, r"\u0000").find(|at| {
        // An even number of backslashes before it: the backslash is not escaped itself.
        let before = message[..*at].iter().rev();
        before.take_while(|byte| **byte == b'\\').count() % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{RecordValidator, escaped_nul};
    use crate::consume::batch::Disposition;
    use connections::records::Record;

    #[test]
    fn records_become_rows_or_dead_letters() {
        let mut validator = RecordValidator::default();
        let mut check = |timestamp_ms, value: Option<&'static str>, expected: Option<&str>| {
            let record = Record {
                partition: 0,
                offset: 7,
                timestamp_ms,
                key: None,
                value: None,
            };
            let bytes = value.map(|value| Bytes::from_static(value.as_bytes()));
            let found = match validator.disposition(&record, bytes.as_ref()) {
                Disposition::Row { .. } => None,
                Disposition::DeadLetter { reason, .. } => Some(reason),
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
    fn escaped_backslash_is_not_an_escape_of_nul() {
        let check =
            |text: &str, expected| assert_eq!(escaped_nul(text.as_bytes()), expected, "{text}");
        check(r#""\u0000""#, Some(1));
        check(r#""\\u0000""#, None);
        check(r#""\\\u0000""#, Some(3));
        check(r#""\\u0000 \u0000""#, Some(9));
        check(r#""\u0001 u0000""#, None);
    }
}
