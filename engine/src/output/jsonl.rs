//! Rows as JSON Lines, one file a partition, always whole.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::json;

/// Every row as one object on a line of its own, columns in their order, nulls written out.
pub(crate) fn encode(batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut lines = Vec::new();
    for batch in batches {
        json::write_lines(batch, &mut lines)?;
    }
    Ok(Bytes::from(lines))
}
