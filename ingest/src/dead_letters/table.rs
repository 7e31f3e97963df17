//! Table `dead_letters`: its name and schema, and the rows that a landing writes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;
use lake::{TableName, TableSchema};

/// The name of the table.
pub(crate) fn table_name() -> TableName {
    "dead_letters".parse().expect("a valid table name")
}

/// A dead letter that a landing is about to write. Its key is the identity if that could be read,
/// else file and line.
#[derive(Clone, Debug)]
pub(crate) struct NewDeadLetter {
    /// When the landing refused it, UTC microseconds.
    pub(crate) received_us: i64,
    /// `files`, `kafka` or `postgres`.
    pub(crate) source: &'static str,
    /// Name of the topic in Kafka.
    pub(crate) topic: Arc<str>,
    /// Topic partition and offset.
    pub(crate) identity: Option<(i32, i64)>,
    /// File and line; none for a message that comes without a file.
    pub(crate) place: Option<(Arc<str>, i64)>,
    /// Why it was refused: a word in snake case.
    pub(crate) reason: String,
    /// The same for people.
    pub(crate) detail: String,
    /// Bytes of the message, or of its line.
    pub(crate) value: Bytes,
}

pub(crate) fn schema() -> TableSchema {
    TableSchema {
        columns: columns(),
        partition: Vec::new(),
        description: "One refused message, with the reason and where it came from.".to_owned(),
    }
}

fn columns() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("received_at", instant, true),
        Field::new("source", DataType::Utf8, true),
        Field::new("kafka_topic", DataType::Utf8, true),
        Field::new("kafka_partition", DataType::Int32, true),
        Field::new("kafka_offset", DataType::Int64, true),
        Field::new("path", DataType::Utf8, true),
        Field::new("line", DataType::Int64, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("detail", DataType::Utf8, true),
        Field::new("value", DataType::Binary, true),
    ]))
}

/// `dead_letters` as rows of the table.
pub(crate) fn rows(dead_letters: &[NewDeadLetter]) -> Result<RecordBatch, ArrowError> {
    let mut received = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let (mut source, mut topic) = (StringBuilder::new(), StringBuilder::new());
    let (mut partition, mut offset) = (Int32Builder::new(), Int64Builder::new());
    let (mut path, mut line) = (StringBuilder::new(), Int64Builder::new());
    let (mut reason, mut detail) = (StringBuilder::new(), StringBuilder::new());
    let mut value = BinaryBuilder::new();
    for dead_letter in dead_letters {
        received.append_value(dead_letter.received_us);
        source.append_value(dead_letter.source);
        topic.append_value(&dead_letter.topic);
        partition.append_option(dead_letter.identity.map(|identity| identity.0));
        offset.append_option(dead_letter.identity.map(|identity| identity.1));
        path.append_option(dead_letter.place.as_ref().map(|place| &place.0));
        line.append_option(dead_letter.place.as_ref().map(|place| place.1));
        reason.append_value(&dead_letter.reason);
        detail.append_value(&dead_letter.detail);
        value.append_value(&dead_letter.value);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(received.finish()),
        Arc::new(source.finish()),
        Arc::new(topic.finish()),
        Arc::new(partition.finish()),
        Arc::new(offset.finish()),
        Arc::new(path.finish()),
        Arc::new(line.finish()),
        Arc::new(reason.finish()),
        Arc::new(detail.finish()),
        Arc::new(value.finish()),
    ];
    RecordBatch::try_new(self::columns(), columns)
}
