//! Blocks of messages from Kafka and PostgreSQL, with identity and time beside each message.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

/// Size of a block: bytes of values, and as many bytes of keys and other fields.
const BLOCK_BYTES: usize = 2 << 20;
/// Spare capacity for the message that fills a block: growing for it would copy all others.
const LAST_BYTES: usize = 64 << 10;

/// By topic partition, the offset of the next message to read.
pub type Positions = BTreeMap<i32, i64>;

/// By topic partition, the offsets of single messages.
pub type Offsets = BTreeMap<i32, BTreeSet<i64>>;

/// A message.
#[derive(Clone, Debug)]
pub struct Record {
    /// Topic partition.
    pub partition: i32,
    /// Offset in the topic partition.
    pub offset: i64,
    /// Event time, UTC milliseconds.
    pub timestamp_ms: Option<i64>,
    /// Range in [`Records::keys`].
    pub key: Option<Range<usize>>,
    /// Range in [`Records::bytes`].
    pub value: Option<Range<usize>>,
}

/// A message that `consume` has refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Topic partition.
    pub partition: i32,
    /// Offset in the topic partition.
    pub offset: i64,
    /// Why it was refused: a word in snake case.
    pub reason: String,
    /// The same for people.
    pub detail: String,
    /// Range in [`Records::bytes`].
    pub value: Range<usize>,
}

/// A block of messages.
#[derive(Debug)]
pub struct Records {
    /// Name of the source in dead letters.
    pub source: &'static str,
    /// Number of the block among those that the reader sends, from 0.
    pub sequence: u64,
    /// The values, concatenated: a string column can use them without a copy.
    pub bytes: Bytes,
    /// The keys, concatenated.
    pub keys: Bytes,
    /// The messages, in the order of reading.
    pub list: Vec<Record>,
    /// Messages that `consume` refused, in the order of reading.
    pub refused: Vec<Refused>,
    /// Positions after this block and all before it.
    pub positions: Positions,
}

/// Builds a block of messages.
#[derive(Debug)]
pub struct RecordsBuilder {
    source: &'static str,
    sequence: u64,
    bytes: Vec<u8>,
    keys: Vec<u8>,
    list: Vec<Record>,
    refused: Vec<Refused>,
    positions: Positions,
}

impl RecordsBuilder {
    /// An empty builder. `source` is the name of the source in dead letters.
    pub fn new(source: &'static str) -> Self {
        Self {
            source,
            sequence: 0,
            bytes: Vec::new(),
            keys: Vec::new(),
            list: Vec::new(),
            refused: Vec::new(),
            positions: Positions::new(),
        }
    }

    /// Appends a message, whose identity is its topic partition and its offset.
    pub fn push(
        &mut self,
        (partition, offset): (i32, i64),
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let key = key.map(|key| copy(key, &mut self.keys));
        let value = value.map(|value| self.append(value));
        self.list.push(Record {
            partition,
            offset,
            timestamp_ms,
            key,
            value,
        });
    }

    /// Appends a message that `consume` has refused.
    pub fn push_refused(
        &mut self,
        (partition, offset): (i32, i64),
        reason: String,
        detail: String,
        value: &[u8],
    ) {
        let value = self.append(value);
        self.refused.push(Refused {
            partition,
            offset,
            reason,
            detail,
            value,
        });
    }

    /// Sets the position after the pushed messages.
    pub fn set_position(&mut self, partition: i32, next: i64) {
        self.positions.insert(partition, next);
    }

    /// The position after the pushed messages of this block, if it is known.
    pub(crate) fn position(&self, partition: i32) -> Option<i64> {
        self.positions.get(&partition).copied()
    }

    fn append(&mut self, value: &[u8]) -> Range<usize> {
        // Allocated by the first message, so that an idle topic holds no memory.
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(BLOCK_BYTES + LAST_BYTES);
        }
        copy(value, &mut self.bytes)
    }

    /// Whether the block has neither messages nor positions.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.refused.is_empty() && self.positions.is_empty()
    }

    /// Whether the block has its size.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK_BYTES || self.bytes_beside() >= BLOCK_BYTES
    }

    /// Bytes beside the values. They dominate where values are empty, or keys are long.
    fn bytes_beside(&self) -> usize {
        self.keys.len() + (self.list.len() + self.refused.len()) * size_of::<Record>()
    }

    /// Takes the block, and starts the next one.
    pub fn seal(&mut self) -> Records {
        let next = Self {
            sequence: self.sequence + 1,
            ..Self::new(self.source)
        };
        let mut full = std::mem::replace(self, next);
        if full.bytes.len() < BLOCK_BYTES {
            // Rows refer to these bytes until they are flushed.
            full.bytes.shrink_to_fit();
        }
        Records {
            source: full.source,
            sequence: full.sequence,
            bytes: Bytes::from(full.bytes),
            keys: Bytes::from(full.keys),
            list: full.list,
            refused: full.refused,
            positions: full.positions,
        }
    }
}

/// Appends `part` to `all`, and returns its range.
fn copy(part: &[u8], all: &mut Vec<u8>) -> Range<usize> {
    let start = all.len();
    all.extend_from_slice(part);
    start..all.len()
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, RecordsBuilder};

    #[test]
    fn sealed_blocks_keep_order_of_pushes() {
        let mut builder = RecordsBuilder::new("kafka");
        assert!(builder.is_empty());
        builder.push((0, 7), Some(1), Some(b"key"), Some(b"value"));
        builder.push_refused((0, 8), "empty".to_owned(), String::new(), b"bad");
        builder.set_position(0, 9);
        let first = builder.seal();
        assert!(builder.is_empty());
        let record = &first.list[0];
        let [key, value] = [&record.key, &record.value].map(|range| range.clone().expect("given"));
        assert_eq!(
            (&first.keys[key], &first.bytes[value]),
            (&b"key"[..], &b"value"[..])
        );
        assert_eq!(&first.bytes[first.refused[0].value.clone()], b"bad");
        assert_eq!(first.positions, [(0, 9)].into());
        builder.push((1, 0), None, None, Some(&vec![b' '; BLOCK_BYTES]));
        assert!(builder.is_full());
        assert_eq!((first.sequence, builder.seal().sequence), (0, 1));
    }

    #[test]
    fn keys_and_empty_values_also_fill_a_block() {
        let check = |what: &str, key: Option<&[u8]>, most: i64| {
            let mut builder = RecordsBuilder::new("kafka");
            let full = (0..most).find(|offset| {
                builder.push((0, *offset), None, key, None);
                builder.is_full()
            });
            assert!(full.is_some_and(|at| at > most / 2), "{what}: {full:?}");
        };
        check("without a value", None, 1 << 15);
        check("long keys", Some(&[b'k'; 64 << 10]), 1 << 5);
    }

    #[test]
    fn block_filled_by_keys_allocates_no_values() {
        let mut builder = RecordsBuilder::new("kafka");
        let key = vec![b'k'; BLOCK_BYTES];
        builder.push((0, 0), None, Some(&key), Some(b"value"));
        assert!(builder.is_full());
        let bytes = Vec::from(builder.seal().bytes);
        assert!(bytes.capacity() < BLOCK_BYTES, "{}", bytes.capacity());
    }
}
