//! What a source yields into a batch of messages; what is malformed becomes a dead letter.

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
use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};

use super::dead_letters::DeadLetter;
use crate::declaration::{IDENTITY, Topic, message_columns};
use crate::source::Positions;

/// An event time this much ahead of the clock is a fault, not a skew.
const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// Messages decoded together.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// Well-formed messages, each identity once, in the columns that tables select from.
    pub(crate) messages: RecordBatch,
    /// Where each message of the batch came from.
    origins: Vec<Origin>,
    letters: Letters,
    pub(crate) refused: Vec<DeadLetter>,
    /// Messages whose identity another one of them had already.
    pub(crate) repeated: u64,
}

impl Decoded {
    pub(crate) fn newest_event_us(&self) -> Option<i64> {
        let instants = self.messages.column_by_name("kafka_timestamp")?;
        arrow::compute::max(instants.as_primitive::<TimestampMicrosecondType>())
    }

    /// Lines that the messages of the batch stand in, where they come from lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = i64> {
        let places = self
            .origins
            .iter()
            .filter_map(|origin| origin.place.as_ref());
        places.map(|place| place.1)
    }

    /// By topic partition, the newest event time among the messages before these positions.
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

    /// The dead letter of a message that was refused after it had been decoded.
    pub(crate) fn letter(&self, index: usize, reason: &str, detail: String) -> DeadLetter {
        let origin = self.origins[index].clone();
        self.letters.letter(origin, reason, detail)
    }
}

/// Where a message came from, and its bytes.
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
struct Letters {
    source: &'static str,
    topic: Arc<str>,
    received_us: i64,
}

impl Letters {
    fn new(source: &'static str, topic: &Topic, now: DateTime<Utc>) -> Self {
        Self {
            source,
            topic: topic.name.as_str().into(),
            received_us: now.timestamp_micros(),
        }
    }

    fn letter(&self, origin: Origin, reason: &str, detail: String) -> DeadLetter {
        DeadLetter {
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

/// Judges an event time.
fn plausible(instant: DateTime<Utc>, now: DateTime<Utc>) -> Checked {
    // No weather was put into Kafka before.
    let earliest = Utc.with_ymd_and_hms(2000, 1, 1, 0, 0, 0).single();
    if earliest.is_some_and(|earliest| instant < earliest) || instant > now + AHEAD_MAX {
        let detail = format!("event time {instant} is before 2000 or more than a day ahead");
        return Err(("implausible_event_time", detail));
    }
    Ok(instant)
}

/// The columns of messages, whatever road they came.
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
    fn into_batch(self, topic: &Topic) -> Result<RecordBatch, ArrowError> {
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

/// Parts of `text`, in their order, that the decoder has checked. Where they follow on each other, nothing is copied.
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
