//! A statement of a client, with all that its requests add to it before it runs.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use arrow::array::{Array as _, ArrayData, RecordBatch};
use bytes::Bytes;
use tracing::{Span, error_span};
use uuid::Uuid;

use crate::statements::description::Description;
use crate::statements::parameters;

/// A statement of a client.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Names the statement in the log, and to [`QueryService::cancel`].
    ///
    /// [`QueryService::cancel`]: crate::QueryService::cancel
    pub id: StatementId,
    /// The protocol that it arrived by, for the log.
    pub protocol: &'static str,
    /// The text, with numbered placeholders.
    pub text: String,
    /// One row, with a value for each parameter; `None` when none are bound.
    pub values: Option<RecordBatch>,
    /// Time that earlier requests for the statement took. It counts against the time limit.
    pub spent: Duration,
    /// [`Description::fingerprint`] of the columns that were described to the client. If the
    /// result has other columns, it is refused.
    pub fingerprint: Option<u64>,
}

impl Statement {
    /// The statement that a client sent by `protocol`, without values.
    pub fn new(protocol: &'static str, text: &str) -> Self {
        Self {
            id: StatementId::random(),
            protocol,
            text: parameters::number_placeholders(text),
            values: None,
            spent: Duration::ZERO,
            fingerprint: None,
        }
    }

    /// The statement after `description` was made of it.
    #[must_use]
    pub fn described(self, description: &Description) -> Self {
        Self {
            spent: description.spent,
            fingerprint: Some(description.fingerprint()),
            ..self
        }
    }

    /// The span of its log lines. Lines of every level that is logged carry it, hence its level.
    pub(crate) fn span(&self) -> Span {
        error_span!("statement", id = %self.id, protocol = self.protocol)
    }

    /// Bytes of memory that its text and its values take.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.values.as_ref().map_or(0, bytes_of)
    }
}

/// Bytes of memory behind a row. Columns that were decoded from one message share a buffer, which
/// counts once.
fn bytes_of(row: &RecordBatch) -> usize {
    let mut buffers = HashMap::new();
    for column in row.columns() {
        collect_buffers(&column.to_data(), &mut buffers);
    }
    buffers.values().sum()
}

fn collect_buffers(data: &ArrayData, buffers: &mut HashMap<usize, usize>) {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    for buffer in data.buffers().iter().chain(nulls) {
        buffers.insert(buffer.data_ptr().as_ptr() as usize, buffer.capacity());
    }
    for child in data.child_data() {
        collect_buffers(child, buffers);
    }
}

/// Identifies a statement from its description to its end. Its client may choose any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementId(Bytes);

impl StatementId {
    /// Bytes of an id that are logged.
    const LOGGED_BYTES: usize = 16;

    /// An id that no other statement has.
    pub fn random() -> Self {
        Self(Bytes::copy_from_slice(Uuid::new_v4().as_bytes()))
    }

    /// The id that a client has sent back.
    pub fn from_bytes(id: Bytes) -> Self {
        Self(id)
    }

    /// The id as it is sent to a client.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(Self::LOGGED_BYTES)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn shared_buffers_of_a_row_count_once() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(10_000)]));
        let row = RecordBatch::try_from_iter([("1", Arc::clone(&text)), ("2", text)]);
        let statement = Statement {
            values: Some(row.expect("a row")),
            ..Statement::new("test", "SELECT $1, $2")
        };
        assert!((10_000..11_000).contains(&statement.bytes()));
    }

    #[test]
    fn logged_id_is_short_whatever_the_client_sends() {
        assert_eq!(StatementId::random().to_string().len(), 32);
        let id = StatementId::from_bytes(Bytes::from(vec![0xab; 1 << 20]));
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(StatementId::from_bytes(Bytes::new()).to_string(), "");
    }
}
