//! What a run asks of the outputs of one partition before it publishes: whether they are there,
//! whether they hold rows, and that they take the new ones.

use arrow::record_batch::RecordBatch;
use lake::{DataFile, PartitionKey, Table, encode, split};
use parquet::errors::ParquetError;

use super::cast_to_schema::check_row_keys;
use super::runner::Runner;
use crate::error::Error;
use crate::outputs::Output;
use crate::outputs::jsonl::{self, has_lines};
use crate::query::QueryFile;

/// The rows that a query returned for one partition, in the types of its outputs.
pub(crate) struct PartitionRows {
    /// With all columns.
    pub(crate) batches: Vec<RecordBatch>,
    /// Without the partition column, as data files have them.
    stored: Vec<RecordBatch>,
}

impl PartitionRows {
    /// Checks `batches` for every output before any of them is written.
    ///
    /// # Errors
    /// When a row belongs to another partition, or has a row key that HBase cannot store.
    pub(crate) fn check(
        query: &QueryFile,
        key: &PartitionKey,
        batches: Vec<RecordBatch>,
    ) -> Result<Self, Error> {
        let partition: Vec<_> = query.header.partition.iter().cloned().collect();
        let mut parts =
            split(&batches, &partition).map_err(|source| query.encode_failed(source))?;
        let stored = parts.remove(key).unwrap_or_default();
        if let Some(other) = parts.keys().next() {
            return Err(Error::OtherPartition {
                query: query.name.to_string(),
                asked: key.first().to_owned(),
                found: other.first().to_owned(),
            });
        }
        for output in query.header.output.iter() {
            match output {
                Output::Table(_) | Output::JsonLines(_) => {}
                Output::Hbase(hbase) => check_row_keys(query, hbase, key, &batches)?,
            }
        }
        Ok(Self { batches, stored })
    }

    pub(crate) fn count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Runner {
    /// Whether an output of the partition was deleted by hand. It is then written again.
    pub(crate) async fn is_output_deleted(
        &self,
        query: &QueryFile,
        key: &PartitionKey,
    ) -> Result<bool, Error> {
        for output in query.header.output.iter() {
            let deleted = match output {
                // Their state is what the log of the table records.
                Output::Table(_) | Output::Hbase(_) => false,
                Output::JsonLines(_) => match query.jsonl_file(&self.base_path, key) {
                    Some(file) => file.head().await?.is_none(),
                    None => false,
                },
            };
            if deleted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an output still has rows of the partition.
    pub(crate) async fn holds_rows(
        &self,
        query: &QueryFile,
        table: Option<&Table>,
        key: &PartitionKey,
    ) -> Result<bool, Error> {
        for output in query.header.output.iter() {
            let holds = match output {
                Output::Table(_) => {
                    table.is_some_and(|table| table.snapshot().data_files(key).next().is_some())
                }
                Output::JsonLines(_) => match query.jsonl_file(&self.base_path, key) {
                    Some(file) => has_lines(&file).await?,
                    None => false,
                },
                // A copy of the table.
                Output::Hbase(_) => false,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the rows of a partition as far as that can be undone by the next run: the data file
    /// of the table is uploaded and not yet committed, and JSON Lines are replaced. Returns the
    /// uploaded data file.
    ///
    /// `table` is `None` where the table has these rows already.
    pub(crate) async fn stage(
        &self,
        query: &QueryFile,
        table: Option<&Table>,
        key: &PartitionKey,
        rows: PartitionRows,
    ) -> Result<Option<DataFile>, Error> {
        let has_rows = rows.count() > 0;
        let mut uploaded = None;
        for output in query.header.output.iter() {
            match output {
                Output::Table(_) => {
                    if let Some(table) = table.filter(|_| has_rows) {
                        let stored = rows.stored.clone();
                        uploaded = Some(upload(query, table, key, stored).await?);
                    }
                }
                Output::JsonLines(_) => {
                    if let Some(file) = query.jsonl_file(&self.base_path, key) {
                        let lines = jsonl::encode(&rows.batches);
                        let lines = lines.map_err(|source| query.encode_failed(source))?;
                        file.replace_if_changed(lines).await?;
                    }
                }
                // Copied from the table after the commit.
                Output::Hbase(_) => {}
            }
        }
        Ok(uploaded)
    }
}

async fn upload(
    query: &QueryFile,
    table: &Table,
    key: &PartitionKey,
    rows: Vec<RecordBatch>,
) -> Result<DataFile, Error> {
    let schema = table.snapshot().file_schema();
    let encoded = tokio::task::spawn_blocking(move || encode(&schema, &rows))
        .await
        .map_err(|source| query.encode_failed(ParquetError::External(source.into())))?
        .map_err(|source| query.encode_failed(source))?;
    Ok(table.store(key, encoded).await?)
}
