//! Rows as JSON Lines, one file for each partition, always replaced as a whole.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use engine::output::json;

/// Encodes every row as one object on its own line: columns in order, nulls included.
pub(crate) fn encode(batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut lines = Vec::new();
    for batch in batches {
        json::write_lines(batch, &mut lines)?;
    }
    Ok(Bytes::from(lines))
}
