//! Rows as JSON Lines, one file a partition, always whole.

use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

/// Every row as one object on a line of its own, columns in their order, nulls written out.
pub(crate) fn encode(batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(Bytes::from(writer.into_inner()))
}
