//! Decodes a block of a source into a batch of messages. A malformed message becomes a dead letter.

mod event_time;
pub(crate) mod lines;
pub(crate) mod records;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use connections::records::Positions;

use crate::dead_letters::NewDeadLetter;
use crate::declaration::{IDENTITY, TopicDeclaration};
use crate::select::message_columns;

/// Limit of clock skew: an event time further ahead of our clock is refused.
const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// Messages decoded together.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// Well-formed messages, each identity once, in the columns that tables select from.
    pub(crate) messages: RecordBatch,
    /// Source of each message of the batch.
    origins: Vec<Origin>,
    context: DeadLetterContext,
    /// Messages that were refused.
    pub(crate) refused: Vec<NewDeadLetter>,
    /// Messages with the identity of an earlier message of the same block.
    pub(crate) repeated: u64,
}

impl Decoded {
    /// The newest event time, UTC microseconds.
    pub(crate) fn newest_event_us(&self) -> Option<i64> {
        let instants = self.messages.column_by_name("kafka_timestamp")?;
        arrow::compute::max(instants.as_primitive::<TimestampMicrosecondType>())
    }

    /// Line numbers of the messages, if the source is a file.
    pub(crate) fn lines(&self) -> impl Iterator<Item = i64> {
        let places = self
            .origins
            .iter()
            .filter_map(|origin| origin.place.as_ref());
        places.map(|place| place.1)
    }

    /// By topic partition, the newest event time among the messages before these positions, UTC
    /// microseconds.
    pub(crate) fn newest_before(&self, positions: &Positions) -> BTreeMap<i32, i64> {
        let column = |name| self.messages.column_by_name(name);
        let [partition, offset] = [IDENTITY[1], IDENTITY[2]].map(column);
        let (Some(partitions), Some(offsets), Some(instants)) =
            (partition, offset, column("kafka_timestamp"))
        else {
            return BTreeMap::new();
        };
        let partitions = partitions.as_primitive::<Int32Type>().values();
        let offsets = offsets.as_primitive::<Int64Type>().values();
        let instants = instants.as_primitive::<TimestampMicrosecondType>().values();
        let mut newest = BTreeMap::new();
        for ((partition, offset), instant_us) in partitions.iter().zip(offsets).zip(instants) {
            if positions.get(partition).is_some_and(|next| offset < next) {
                let known = newest.entry(*partition).or_insert(*instant_us);
                *known = (*known).max(*instant_us);
            }
        }
        newest
    }

    /// The dead letter of a decoded message that a declared rule refuses.
    pub(crate) fn dead_letter(&self, index: usize, reason: &str, detail: String) -> NewDeadLetter {
        let origin = self.origins[index].clone();
        self.context.dead_letter(origin, reason, detail)
    }
}

/// The source of a message, and its bytes.
#[derive(Clone, Debug)]
struct Origin {
    /// Topic partition and offset, if they could be read.
    identity: Option<(i32, i64)>,
    /// File and line; none for a message that comes without a file.
    place: Option<(Arc<str>, i64)>,
    value: Bytes,
}

/// What all dead letters of a batch have in common.
#[derive(Clone, Debug)]
struct DeadLetterContext {
    source: &'static str,
    topic: Arc<str>,
    received_us: i64,
}

impl DeadLetterContext {
    fn new(source: &'static str, topic: &TopicDeclaration, now: DateTime<Utc>) -> Self {
        Self {
            source,
            topic: topic.name.as_str().into(),
            received_us: now.timestamp_micros(),
        }
    }

    fn dead_letter(&self, origin: Origin, reason: &str, detail: String) -> NewDeadLetter {
        NewDeadLetter {
            received_us: self.received_us,
            source: self.source,
            topic: Arc::clone(&self.topic),
            identity: origin.identity,
            place: origin.place,
            reason: reason.to_owned(),
            detail,
            value: origin.value,
        }
    }
}

/// The event time of a message, or reason and detail of its refusal.
type Checked = Result<DateTime<Utc>, (&'static str, String)>;

/// Validates an event time: not before `min`, which the declaration gives, and at most a day ahead.
fn check_event_time(
    instant: DateTime<Utc>,
    min: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Checked {
    let detail = match min {
        Some(min) if instant < min => {
            format!("event time {instant} is before {}", min.date_naive())
        }
        _ if instant > now + AHEAD_MAX => {
            format!("event time {instant} is more than a day ahead")
        }
        _ => return Ok(instant),
    };
    Err(("implausible_event_time", detail))
}

/// The columns of messages, the same for every source.
struct Columns {
    partitions: Int32Array,
    offsets: Int64Array,
    /// UTC microseconds.
    instants: TimestampMicrosecondArray,
    keys: ArrayRef,
    values: StringArray,
    messages: ArrayRef,
}

impl Columns {
    /// As [`message_columns`].
    fn into_batch(self, topic: &TopicDeclaration) -> Result<RecordBatch, ArrowError> {
        let topics = std::iter::repeat_n(topic.name.as_str(), self.offsets.len());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(topics)),
            Arc::new(self.partitions),
            Arc::new(self.offsets),
            Arc::new(self.instants.with_timezone("UTC")),
            self.keys,
            Arc::new(self.values),
            self.messages,
        ];
        RecordBatch::try_new(message_columns(&topic.shape), columns)
    }
}

/// Ranges of `text`, in order, which the decoder has checked to be UTF-8. Adjacent ranges are not
/// copied.
fn texts(text: &Bytes, ranges: &[Range<usize>]) -> Result<StringArray, ArrowError> {
    let is_whole = ranges.windows(2).all(|pair| pair[0].end == pair[1].start);
    let lengths = ranges.iter().map(ExactSizeIterator::len);
    let bytes = if is_whole {
        let all = ranges.first().zip(ranges.last());
        let all = all.map(|(first, last)| text.slice(first.start..last.end));
        Buffer::from(all.unwrap_or_default())
    } else {
        let parts: Vec<_> = ranges.iter().map(|range| &text[range.clone()]).collect();
        Buffer::from(parts.concat())
    };
    StringArray::try_new(OffsetBuffer::from_lengths(lengths), bytes, None)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::check_event_time;

    #[test]
    fn event_time_is_plausible_from_the_declared_minimum_to_a_day_ahead() {
        let at = |text: &str| -> DateTime<Utc> { text.parse().expect("an instant") };
        let now = at("2026-01-15T12:00:00Z");
        let refused = |instant: &str, min: Option<&str>| {
            let checked = check_event_time(at(instant), min.map(at), now);
            checked.err().map(|(reason, detail)| {
                assert_eq!(reason, "implausible_event_time");
                detail
            })
        };
        let min = Some("2000-01-01T00:00:00Z");
        assert_eq!(refused("2000-01-01T00:00:00Z", min), None);
        assert_eq!(
            refused("1999-12-31T23:59:59Z", min).as_deref(),
            Some("event time 1999-12-31 23:59:59 UTC is before 2000-01-01")
        );
        assert_eq!(refused("1903-01-01T00:00:00Z", None), None);
        assert_eq!(refused("2026-01-16T12:00:00Z", None), None);
        for min in [None, min] {
            assert_eq!(
                refused("2026-01-16T12:00:01Z", min).as_deref(),
                Some("event time 2026-01-16 12:00:01 UTC is more than a day ahead")
            );
        }
    }
}
