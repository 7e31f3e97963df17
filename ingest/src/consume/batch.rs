//! A batch: messages that are written in one transaction, with how far they bring the topic.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Europe::Paris;

use super::judge::Judged;
use crate::postgres;
use crate::source::Positions;

/// A message that is to be a row or a dead letter, in the order in which it was read.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) value: Bytes,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Its value is JSON, and this is when Kafka took it.
    Row { event_time: DateTime<Utc> },
    Letter {
        reason: &'static str,
        detail: String,
    },
}

/// When Kafka took a message, as local time of Europe/Paris to the second.
pub(crate) fn local(event_time: DateTime<Utc>) -> NaiveDateTime {
    let whole = DateTime::from_timestamp(event_time.timestamp(), 0).unwrap_or(event_time);
    whole.with_timezone(&Paris).naive_local()
}

/// Messages on their way into one transaction.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// Where the topic partitions go on after it.
    pub(crate) positions: Positions,
    pub(crate) bytes: u64,
    /// When the first of it came.
    pub(crate) since: Option<Instant>,
}

/// What becomes of a batch that PostgreSQL refuses.
pub(crate) enum Halved {
    Two(Batch, Batch),
    /// It was a single message, and is a dead letter now.
    Refused(Batch),
}

impl Batch {
    pub(crate) fn push(&mut self, block: Judged) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += block.bytes;
        self.messages.extend(block.messages);
        self.positions.extend(block.positions);
    }

    /// Nothing is in it, not even a position.
    pub(crate) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.len()
    }

    /// The latest event time of its rows, by topic partition.
    pub(crate) fn newest(&self) -> BTreeMap<i32, DateTime<Utc>> {
        let mut newest = BTreeMap::new();
        for message in &self.messages {
            if let Verdict::Row { event_time } = message.verdict {
                let known = newest.entry(message.partition).or_insert(event_time);
                *known = event_time.max(*known);
            }
        }
        newest
    }

    /// Both halves of it, or the message that `refusal` must be about.
    pub(crate) fn halve(mut self, refusal: &tokio_postgres::Error) -> Halved {
        if let [message] = self.messages.as_mut_slice() {
            message.verdict = Verdict::Letter {
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

    use super::local;

    #[test]
    fn local_times_are_those_of_paris_to_the_second() {
        let check = |instant: &str, expected: &str| {
            let instant: DateTime<Utc> = instant.parse().expect("an instant");
            assert_eq!(local(instant).to_string(), expected);
        };
        check("2026-01-15T09:00:00.999Z", "2026-01-15 10:00:00");
        check("2026-07-15T08:00:00Z", "2026-07-15 10:00:00");
        check("2026-10-25T00:30:00Z", "2026-10-25 02:30:00");
        check("2026-10-25T01:30:00Z", "2026-10-25 02:30:00");
        check("1969-12-31T23:59:59.500Z", "1970-01-01 00:59:59");
    }
}
