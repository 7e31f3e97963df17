//! Decodes JSON messages into the rows of a struct array.

use std::ops::Range;

use arrow::array::StructArray;

use super::column::Object;
use super::read::{MessageReader, Scratch};
use super::refusal::{DecodeError, Reason, Refusal};
use super::shape::Shape;

/// Limit of the bytes of messages in one batch: Arrow's offsets have 32 bits, and a decoded value
/// is never longer than its JSON.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// Decodes messages of one shape into the rows of one array.
#[derive(Debug)]
pub struct Decoder {
    root: Object,
    rows: usize,
    /// Bytes of the messages that the rows were decoded from.
    messages_bytes: usize,
    captured_field: Option<usize>,
    scratch: Scratch,
}

impl Decoder {
    pub fn new(shape: &Shape) -> Self {
        Self {
            root: Object::new(shape),
            rows: 0,
            messages_bytes: 0,
            captured_field: None,
            scratch: Scratch::default(),
        }
    }

    /// A decoder that also returns the byte range of a top-level field in each message.
    ///
    /// That field is a message inside an envelope. Its nesting counts from the field and not from
    /// the envelope, so that every source accepts the same messages.
    ///
    /// # Panics
    ///
    /// If the shape does not declare the field.
    pub fn capturing(shape: &Shape, field: &str) -> Self {
        let mut decoder = Self::new(shape);
        let index = decoder
            .root
            .members
            .iter()
            .position(|member| member.name == field);
        assert!(
            index.is_some(),
            "no field \"{field}\" is declared to be captured"
        );
        decoder.captured_field = index;
        decoder
    }

    /// Decodes a message into the next row, and returns the range of the captured field if there is
    /// one. A refused message adds no row.
    ///
    /// # Panics
    ///
    /// If more than 2 GiB of messages are pushed before [`Self::finish`].
    pub fn push(&mut self, message: &[u8]) -> Result<Option<Range<usize>>, Refusal> {
        let pushed = self.read(message).map_err(|fault| {
            self.root.truncate(self.rows);
            fault.into_refusal()
        })?;
        self.rows += 1;
        self.messages_bytes += message.len();
        Ok(pushed)
    }

    fn read(&mut self, message: &[u8]) -> Result<Option<Range<usize>>, Box<DecodeError>> {
        if message.len() > BATCH_BYTES_MAX / 2 {
            let what = format!(
                "{} bytes, at most {} are taken",
                message.len(),
                BATCH_BYTES_MAX / 2
            );
            return Err(DecodeError::new(Reason::MessageTooLong, 0, what));
        }
        assert!(
            self.messages_bytes + message.len() <= BATCH_BYTES_MAX,
            "a batch is finished before its messages exceed {BATCH_BYTES_MAX} bytes"
        );
        MessageReader::new(message, &mut self.scratch, self.captured_field)?
            .message(&mut self.root, self.rows)
    }

    /// Rows decoded since the last [`Self::finish`].
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Memory of the rows in bytes, counted column by column.
    pub fn bytes(&self) -> usize {
        self.root.bytes()
    }

    /// Takes the rows decoded so far; the decoder is empty afterwards.
    pub fn finish(&mut self) -> StructArray {
        let rows = std::mem::take(&mut self.rows);
        self.messages_bytes = 0;
        self.root.take(rows, None)
    }
}
