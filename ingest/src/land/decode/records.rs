//! Decodes records of Kafka and rows of PostgreSQL: messages without an envelope, whose identity
//! and time are columns of their own.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringBuilder, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use connections::records::{Record, Records};

use super::{Checked, Columns, DeadLetterContext, Decoded, Origin, check_event_time, texts};
use crate::declaration::TopicDeclaration;
use crate::message::Decoder;

/// Decodes records that were read together.
pub(crate) fn decode(
    topic: &TopicDeclaration,
    records: &Records,
    now: DateTime<Utc>,
) -> Result<Decoded, ArrowError> {
    let context = DeadLetterContext::new(records.source, topic, now);
    let mut decoder = Decoder::new(&topic.shape);
    let already = records.refused.iter().map(|refused| {
        let origin = Origin {
            identity: Some((refused.partition, refused.offset)),
            place: None,
            value: records.bytes.slice(refused.value.clone()),
        };
        context.dead_letter(origin, &refused.reason, refused.detail.clone())
    });
    let mut refused: Vec<_> = already.collect();
    let mut taken: Vec<(&Record, DateTime<Utc>)> = Vec::with_capacity(records.list.len());
    for record in &records.list {
        let validated = event_time(record, topic, now).and_then(|instant| {
            let text = record.value.clone().map(|range| &records.bytes[range]);
            let text = text.ok_or_else(|| ("empty", "the record has no value".to_owned()))?;
            decoder
                .push(text)
                .map_err(|refusal| (refusal.reason.text(), refusal.detail))?;
            Ok(instant)
        });
        match validated {
            Ok(instant) => taken.push((record, instant)),
            Err((reason, detail)) => {
                refused.push(context.dead_letter(origin(records, record), reason, detail));
            }
        }
    }
    let messages = columns(records, &taken, Arc::new(decoder.finish()))?.into_batch(topic)?;
    let origins = taken.iter().map(|(record, _)| origin(records, record));
    Ok(Decoded {
        messages,
        origins: origins.collect(),
        context,
        refused,
        repeated: 0,
    })
}

fn event_time(record: &Record, topic: &TopicDeclaration, now: DateTime<Utc>) -> Checked {
    let instant = record
        .timestamp_ms
        .and_then(DateTime::from_timestamp_millis);
    let instant = instant.ok_or_else(|| {
        let detail = "the record has no timestamp".to_owned();
        ("unreadable_event_time", detail)
    })?;
    check_event_time(instant, topic.event_time_min, now)
}

fn origin(records: &Records, record: &Record) -> Origin {
    let value = record.value.clone().unwrap_or_default();
    Origin {
        identity: Some((record.partition, record.offset)),
        place: None,
        value: records.bytes.slice(value),
    }
}

fn columns(
    records: &Records,
    taken: &[(&Record, DateTime<Utc>)],
    messages: ArrayRef,
) -> Result<Columns, ArrowError> {
    let mut keys = StringBuilder::new();
    for (record, _) in taken {
        let key = record.key.clone().map(|range| &records.keys[range]);
        // SQL sees the key as text; a key that is not UTF-8 becomes NULL.
        keys.append_option(key.and_then(|key| str::from_utf8(key).ok()));
    }
    let values: Vec<Range<usize>> = taken
        .iter()
        .map(|(record, _)| record.value.clone().unwrap_or_default())
        .collect();
    let taken = || taken.iter();
    Ok(Columns {
        partitions: Int32Array::from_iter_values(taken().map(|(record, _)| record.partition)),
        offsets: Int64Array::from_iter_values(taken().map(|(record, _)| record.offset)),
        instants: TimestampMicrosecondArray::from_iter_values(
            taken().map(|(_, instant)| instant.timestamp_micros()),
        ),
        keys: Arc::new(keys.finish()),
        values: texts(&records.bytes, &values)?,
        messages,
    })
}
