//! Rows as JSON Lines, one file for each partition, always replaced as a whole.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use engine::output::json;
use lake::{Location, PartitionKey};
use serde::Deserialize;

use crate::error::Error;

/// A file of JSON Lines in the partition's directory below `export.base_path`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonlOutput {
    /// Plain file name, the same in each directory.
    pub file: String,
}

impl JsonlOutput {
    /// What is wrong with the declaration: the key of the header, and a message.
    pub(crate) fn fault(&self, partition: Option<&str>) -> Option<(&'static str, String)> {
        let Self { file } = self;
        if partition.is_none() {
            let message = "output.jsonl needs a partition to know its directory";
            return Some(("[output.jsonl]", message.to_owned()));
        }
        let is_plain = !file.is_empty() && !file.contains(['/', ':']) && !file.starts_with('.');
        (!is_plain).then(|| {
            let message = format!("output.jsonl.file is \"{file}\"; expected a plain file name");
            ("file", message)
        })
    }

    /// The file below `base_path` for the partition `key` of `column`.
    pub(crate) fn location(
        &self,
        base_path: &Location,
        column: &str,
        key: &PartitionKey,
    ) -> Location {
        let directory = format!("{column}={}", key.first());
        base_path.join(&directory).join(&self.file)
    }
}

/// Whether the file exists and is not empty.
pub(crate) async fn has_lines(file: &Location) -> Result<bool, Error> {
    Ok(file.head().await?.is_some_and(|file| file.size > 0))
}

/// Encodes every row as one object on its own line: columns in order, nulls included.
pub(crate) fn encode(batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut lines = Vec::new();
    for batch in batches {
        json::write_lines(batch, &mut lines)?;
    }
    Ok(Bytes::from(lines))
}
