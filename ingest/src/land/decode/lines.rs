//! Decodes lines of an export file: a message in an envelope with its identity and event time.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Int32Array, Int64Array, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::event_time;
use super::{Checked, Columns, DeadLetterContext, Decoded, Origin, check_event_time, texts};
use crate::dead_letters::NewDeadLetter;
use crate::declaration::TopicDeclaration;
use crate::message::{Decoder, envelope};
use crate::source::files::{Content, LineBlock};

#[derive(Clone, Debug)]
struct Line {
    number: i64,
    text: Range<usize>,
}

/// The origin that all dead letters of a block share.
struct BlockOrigin {
    context: DeadLetterContext,
    path: Arc<str>,
    text: Bytes,
}

impl BlockOrigin {
    fn origin(&self, line: &Line, identity: Option<(i32, i64)>) -> Origin {
        Origin {
            identity,
            place: Some((Arc::clone(&self.path), line.number)),
            value: self.text.slice(line.text.clone()),
        }
    }

    fn dead_letter(
        &self,
        line: &Line,
        identity: Option<(i32, i64)>,
        reason: &str,
        detail: String,
    ) -> NewDeadLetter {
        let origin = self.origin(line, identity);
        self.context.dead_letter(origin, reason, detail)
    }
}

/// Decodes one block of lines.
pub(crate) fn decode(
    topic: &TopicDeclaration,
    block: LineBlock,
    now: DateTime<Utc>,
) -> Result<Decoded, ArrowError> {
    let mut refused = Vec::new();
    let (source, lines) = open(topic, block, now, &mut refused);
    let shape = envelope::shape(&topic.shape);
    let mut decoder = Decoder::capturing(&shape, envelope::VALUE);
    let mut taken = Vec::with_capacity(lines.len());
    let mut values = Vec::with_capacity(lines.len());
    for line in lines {
        let text = &source.text[line.text.clone()];
        match decoder.push(text) {
            Ok(value) => {
                let value = value.unwrap_or_default();
                values.push(line.text.start + value.start..line.text.start + value.end);
                taken.push(line);
            }
            Err(refusal) => {
                let identity = envelope::salvage(text);
                refused.push(source.dead_letter(
                    &line,
                    identity,
                    refusal.reason.text(),
                    refusal.detail,
                ));
            }
        }
    }
    let envelopes = Envelopes::new(&decoder.finish(), topic);
    let checked = envelopes.check(topic, now);
    let mut keep = Vec::with_capacity(taken.len());
    let mut seen = HashSet::with_capacity(taken.len());
    let mut repeated = 0;
    for (index, line) in taken.iter().enumerate() {
        let (partition, offset) = (
            envelopes.partitions.value(index),
            envelopes.offsets.value(index),
        );
        let kept = match &checked[index] {
            Ok(_) if seen.insert((partition, offset)) => true,
            Ok(_) => {
                repeated += 1;
                false
            }
            Err((reason, detail)) => {
                let identity = i32::try_from(partition)
                    .ok()
                    .filter(|partition| *partition >= 0 && offset >= 0)
                    .map(|partition| (partition, offset));
                refused.push(source.dead_letter(line, identity, reason, detail.clone()));
                false
            }
        };
        keep.push(kept);
    }
    let messages = envelopes.batch(topic, &source.text, &values, &checked, &keep)?;
    let kept = taken.iter().enumerate().filter(|(index, _)| keep[*index]);
    let origins = kept.map(|(index, line)| {
        let partition = i32::try_from(envelopes.partitions.value(index)).ok();
        let offset = envelopes.offsets.value(index);
        source.origin(line, partition.map(|partition| (partition, offset)))
    });
    Ok(Decoded {
        messages,
        origins: origins.collect(),
        context: source.context.clone(),
        refused,
        repeated,
    })
}

/// The text of a block and its lines; a line that was too long to be read whole is refused.
fn open(
    topic: &TopicDeclaration,
    block: LineBlock,
    now: DateTime<Utc>,
    refused: &mut Vec<NewDeadLetter>,
) -> (BlockOrigin, Vec<Line>) {
    let source = |text| BlockOrigin {
        context: DeadLetterContext::new("files", topic, now),
        path: block.path,
        text,
    };
    match block.content {
        Content::Lines(text) => {
            let lines = split(&text, block.first_line);
            (source(text), lines)
        }
        Content::TooLong { beginning, length } => {
            let line = Line {
                number: block.first_line,
                text: 0..beginning.len(),
            };
            let source = source(beginning);
            let identity = envelope::salvage(&source.text);
            let detail = format!("the line has {length} bytes; its beginning is kept here");
            refused.push(source.dead_letter(&line, identity, "message_too_long", detail));
            (source, Vec::new())
        }
        Content::End => (source(Bytes::new()), Vec::new()),
    }
}

/// The ranges of the lines of `text`, without line feeds; `first` is the number of the first.
fn split(text: &[u8], first: i64) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = 0;
    let ends =
        memchr::memchr_iter(b'\n', text).chain((!text.ends_with(b"\n")).then_some(text.len()));
    for (number, end) in (first..).zip(ends) {
        lines.push(Line {
            number,
            text: start..end,
        });
        start = end + 1;
    }
    lines
}

/// The decoded envelopes of a block.
struct Envelopes {
    partitions: Int64Array,
    offsets: Int64Array,
    event_times: StringArray,
    messages: ArrayRef,
    /// The messages' own times, epoch seconds, if the declaration names their field.
    observed: Option<Int64Array>,
}

impl Envelopes {
    fn new(rows: &StructArray, topic: &TopicDeclaration) -> Self {
        let column = |name| {
            let column = rows.column_by_name(name);
            Arc::clone(column.expect("every envelope has this column"))
        };
        let messages = column(envelope::VALUE);
        let observed = topic.observed_at.as_ref().and_then(|path| {
            let mut column = Arc::clone(&messages);
            for step in path {
                let next = Arc::clone(column.as_struct_opt()?.column_by_name(step)?);
                column = next;
            }
            column.as_primitive_opt::<Int64Type>().cloned()
        });
        Self {
            partitions: column(envelope::KAFKA_PARTITION)
                .as_primitive::<Int64Type>()
                .clone(),
            offsets: column(envelope::KAFKA_OFFSET)
                .as_primitive::<Int64Type>()
                .clone(),
            event_times: column(envelope::EVENT_TIME).as_string::<i32>().clone(),
            messages,
            observed,
        }
    }

    /// Validates the envelope of each message.
    fn check(&self, topic: &TopicDeclaration, now: DateTime<Utc>) -> Vec<Checked> {
        (0..self.offsets.len())
            .map(|index| {
                let (partition, offset) = (self.partitions.value(index), self.offsets.value(index));
                if offset < 0 || i32::try_from(partition).is_ok_and(|partition| partition < 0) {
                    return Err((
                        "invalid_identity",
                        format!(
                            "topic partition {partition}, offset {offset}: neither is negative"
                        ),
                    ));
                }
                if i32::try_from(partition).is_err() {
                    return Err((
                        "invalid_identity",
                        format!("topic partition {partition} is out of range"),
                    ));
                }
                let observed = self.observed.as_ref();
                let observed = observed.filter(|observed| observed.is_valid(index));
                let observed = observed.map(|observed| observed.value(index));
                let instant = event_time::resolve(self.event_times.value(index), observed)
                    .map_err(|detail| ("unreadable_event_time", detail))?;
                check_event_time(instant, topic.event_time_min, now)
            })
            .collect()
    }

    /// The messages to keep, in the columns that tables select from.
    fn batch(
        &self,
        topic: &TopicDeclaration,
        text: &Bytes,
        values: &[Range<usize>],
        checked: &[Checked],
        keep: &[bool],
    ) -> Result<RecordBatch, ArrowError> {
        let partitions = self.partitions.iter().map(|value| {
            value
                .and_then(|value| i32::try_from(value).ok())
                .unwrap_or_default()
        });
        let instants = checked.iter().map(|checked| match checked {
            Ok(instant) => instant.timestamp_micros(),
            Err(_) => 0,
        });
        let batch = Columns {
            partitions: Int32Array::from_iter_values(partitions),
            offsets: self.offsets.clone(),
            instants: TimestampMicrosecondArray::from_iter_values(instants),
            keys: new_null_array(&DataType::Utf8, keep.len()),
            values: texts(text, values)?,
            messages: Arc::clone(&self.messages),
        };
        let batch = batch.into_batch(topic)?;
        if keep.iter().all(|keep| *keep) {
            return Ok(batch);
        }
        filter_record_batch(&batch, &BooleanArray::from(keep.to_vec()))
    }
}
