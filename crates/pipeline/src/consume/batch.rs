//! A batch: messages that one transaction writes, with the positions after them.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Europe::Paris;
use connections::postgres;
use connections::records::Positions;

use super::validate::Validated;

/// A message that becomes a row or a dead letter.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedMessage {
    /// Topic partition.
    pub(crate) partition: i32,
    /// Offset in the topic partition.
    pub(crate) offset: i64,
    /// Value of the record.
    pub(crate) value: Bytes,
    /// What the message becomes.
    pub(crate) disposition: Disposition,
}

/// What a message becomes.
#[derive(Clone, Debug)]
pub(crate) enum Disposition {
    /// Its value is JSON that JSONB can hold, and its time in Kafka is `event_time`.
    Row { event_time: DateTime<Utc> },
    DeadLetter {
        reason: &'static str,
        detail: String,
    },
}

/// The event time as local time of Europe/Paris, to the second.
pub(crate) fn paris_local_time(event_time: DateTime<Utc>) -> NaiveDateTime {
    let whole = DateTime::from_timestamp(event_time.timestamp(), 0).unwrap_or(event_time);
    whole.with_timezone(&Paris).naive_local()
}

/// Messages of one transaction, in the order of reading.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the order of reading.
    pub(crate) messages: Vec<ValidatedMessage>,
    /// Next offset of each topic partition after the batch.
    pub(crate) positions: Positions,
    /// Bytes of the values.
    pub(crate) bytes: u64,
    /// When the first block arrived.
    pub(crate) since: Option<Instant>,
}

/// A batch that PostgreSQL has refused.
pub(crate) enum Halved {
    /// Both halves, to be written one by one.
    Two(Batch, Batch),
    /// It had a single message, which is a dead letter now.
    Refused(Batch),
}

impl Batch {
    pub(crate) fn push(&mut self, block: Validated) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += block.bytes;
        self.messages.extend(block.messages);
        self.positions.extend(block.positions);
    }

    /// Whether it has nothing to write, not even a position.
    pub(crate) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.len()
    }

    /// The newest event time of its rows, by topic partition.
    pub(crate) fn newest(&self) -> BTreeMap<i32, DateTime<Utc>> {
        let mut newest = BTreeMap::new();
        for message in &self.messages {
            if let Disposition::Row { event_time } = message.disposition {
                let known = newest.entry(message.partition).or_insert(event_time);
                *known = event_time.max(*known);
            }
        }
        newest
    }

    /// Halves the batch. If it has a single message, `refusal` is about that message.
    pub(crate) fn halve(mut self, refusal: &tokio_postgres::Error) -> Halved {
        if let [message] = self.messages.as_mut_slice() {
            message.disposition = Disposition::DeadLetter {
                reason: postgres::REFUSED,
                detail: refusal
                    .as_db_error()
                    .map(|error| error.message().to_owned())
                    .unwrap_or_default(),
            };
            return Halved::Refused(self);
        }
        let second = self.messages.split_off(self.messages.len() / 2);
        let mut first = Self {
            messages: self.messages,
            ..Self::default()
        };
        for message in &first.messages {
            let next = message.offset + 1;
            first.positions.insert(message.partition, next);
        }
        let second = Self {
            messages: second,
            positions: self.positions,
            ..Self::default()
        };
        Halved::Two(first, second)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::paris_local_time;

    #[test]
    fn local_times_are_those_of_paris_to_the_second() {
        let check = |instant: &str, expected: &str| {
            let instant: DateTime<Utc> = instant.parse().expect("an instant");
            assert_eq!(paris_local_time(instant).to_string(), expected);
        };
        check("2026-01-15T09:00:00.999Z", "2026-01-15 10:00:00");
        check("2026-07-15T08:00:00Z", "2026-07-15 10:00:00");
        check("2026-10-25T00:30:00Z", "2026-10-25 02:30:00");
        check("2026-10-25T01:30:00Z", "2026-10-25 02:30:00");
        check("1969-12-31T23:59:59.500Z", "1970-01-01 00:59:59");
    }
}
