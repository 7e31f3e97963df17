//! The rows of one data file, in order, for writers that rewrite it.

use arrow::array::new_null_array;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use object_store::ObjectStoreExt as _;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::Table;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::partition::below;

/// Rows of a decoded batch. Few, since one row may hold a whole message.
const BATCH_ROWS: usize = 64;

/// An iterator over the rows of a data file. It keeps the compressed file in memory and decodes
/// batch by batch.
pub struct Rows {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    failed: Box<dyn Fn(ArrowError) -> Error + Send>,
}

impl Table {
    /// The rows of `file`, in the columns of the table's data files. Each read yields the same
    /// order, since data files never change.
    pub async fn rows(&self, file: &DataFile) -> Result<Rows, Error> {
        let (table, place) = (self.name().clone(), file.path().to_owned());
        let failed = move |source: Box<dyn std::error::Error + Send + Sync>| Error::ReadDataFile {
            table: table.clone(),
            path: place.clone(),
            source,
        };
        let path = below(self.location(), file.path());
        let read = async { self.location().store().get(&path).await?.bytes().await };
        let content = read.await.map_err(|source| failed(source.into()))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(content)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(|source| failed(source.into()))?;
        Ok(Rows {
            reader,
            schema: self.snapshot().file_schema(),
            failed: Box::new(move |source| failed(source.into())),
        })
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        let batch = batch.and_then(|batch| cast_to_schema(&self.schema, &batch));
        Some(batch.map_err(&self.failed))
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// Casts `batch` to the columns of the table; columns that the file lacks are null.
fn cast_to_schema(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
    RecordBatch::try_new(SchemaRef::clone(schema), columns.collect::<Result<_, _>>()?)
}
