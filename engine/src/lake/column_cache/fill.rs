//! Decodes columns of a data file for the cache.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::datasource::physical_plan::parquet::apply_file_schema_type_coercions;
use datafusion::error::Result;
use datafusion_datasource::PartitionedFile;
use futures::TryStreamExt as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};

use super::super::provider::FOOTER_BYTES;
use super::scan::CachedScan;
use super::{ColumnId, DecodedColumn, NeededColumn, RowGroupOffsets};

/// Rows of one array: those of a batch of DataFusion, so that batches are cut from arrays without a copy.
pub(super) const ROWS: usize = 8_192;

/// Of a text, beside its characters.
const VIEW_BYTES: usize = 16;

impl CachedScan {
    /// The columns of the row groups of `file` in its range, decoded into the cache. None when there is no room for them,
    /// or when the file has them in other types than the table.
    pub(super) async fn fill(
        &self,
        file: &PartitionedFile,
    ) -> Result<Option<Vec<Vec<Arc<DecodedColumn>>>>> {
        let Some(metadata) = self.metadata(file).await? else {
            return Ok(None);
        };
        let id = self.id_of(file);
        let row_groups = metadata.metadata().row_groups();
        let offsets: RowGroupOffsets = row_groups.iter().map(offset).collect();
        let mut groups = Vec::new();
        for (row_group, offset) in offsets.iter().enumerate() {
            if file
                .range
                .as_ref()
                .is_some_and(|range| !range.contains(*offset))
            {
                continue;
            }
            let found = self.columns.iter().map(|needed| {
                let column = ColumnId {
                    row_group,
                    column: needed.index,
                };
                self.cache.get(&id, column, &needed.data_type)
            });
            let found: Vec<Option<Arc<DecodedColumn>>> = found.collect();
            let missing = self.columns.iter().zip(&found);
            let missing = missing.filter(|(_, found)| found.is_none());
            let missing: Vec<&NeededColumn> = missing.map(|(needed, _)| needed).collect();
            let Some(decoded) = self.decode(file, &metadata, row_group, &missing).await? else {
                return Ok(None);
            };
            for (needed, decoded) in missing.iter().zip(&decoded) {
                let column = ColumnId {
                    row_group,
                    column: needed.index,
                };
                self.cache.insert(&id, &offsets, column, decoded);
            }
            let mut decoded = decoded.into_iter();
            let columns = found
                .into_iter()
                .map(|found| found.or_else(|| decoded.next()));
            groups.extend(columns.collect::<Option<Vec<_>>>());
        }
        Ok(Some(groups))
    }

    fn reader(&self, file: &PartitionedFile) -> Result<Box<dyn AsyncFileReader>> {
        let footer_bytes = file.metadata_size_hint.or(Some(FOOTER_BYTES));
        let file = file.clone();
        let reader =
            self.readers
                .create_reader(self.partition, file, footer_bytes, &self.metrics)?;
        Ok(reader)
    }

    /// The footer of `file` with the types that the scan reads; none when a column is not there in its type.
    async fn metadata(&self, file: &PartitionedFile) -> Result<Option<ArrowReaderMetadata>> {
        let mut reader = self.reader(file)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        let mut metadata = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await?;
        if let Some(coerced) = apply_file_schema_type_coercions(&self.schema, metadata.schema()) {
            let options = options.with_schema(Arc::new(coerced));
            metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
        }
        let of_file = metadata.schema();
        let is_there = self.columns.iter().all(|needed| {
            let field = of_file.field_with_name(&needed.name);
            field.is_ok_and(|field| field.data_type() == &needed.data_type)
        });
        Ok(is_there.then_some(metadata))
    }

    async fn decode(
        &self,
        file: &PartitionedFile,
        metadata: &ArrowReaderMetadata,
        row_group: usize,
        columns: &[&NeededColumn],
    ) -> Result<Option<Vec<Arc<DecodedColumn>>>> {
        if columns.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let schema = metadata.schema();
        let roots = columns.iter().map(|column| schema.index_of(&column.name));
        let roots = roots.collect::<Result<Vec<_>, _>>()?;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let group = metadata.metadata().row_group(row_group);
        if !self.cache.make_room(decoded_bytes(group, columns, &mask)) {
            return Ok(None);
        }
        let reader = self.reader(file)?;
        let batches = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![row_group])
            .with_batch_size(ROWS)
            .build()?;
        let mut arrays: Vec<Vec<ArrayRef>> = vec![Vec::new(); columns.len()];
        let mut batches = batches.into_stream();
        while let Some(batch) = batches.try_next().await? {
            for (column, arrays) in columns.iter().zip(&mut arrays) {
                let index = batch.schema_ref().index_of(&column.name)?;
                arrays.push(Arc::clone(batch.column(index)));
            }
            // Decoding does not wait for anything, and other statements have their turns too.
            tokio::task::consume_budget().await;
        }
        // Columns that are decoded at different times are served side by side.
        let rows = group.num_rows();
        if !arrays.iter().all(|arrays| is_cut_evenly(arrays, rows)) {
            return Ok(None);
        }
        let decoded = arrays
            .into_iter()
            .map(|arrays| Arc::new(DecodedColumn::new(arrays)));
        Ok(Some(decoded.collect()))
    }
}

/// Where a row group begins, as DataFusion's own reader understands ranges of a file.
fn offset(group: &RowGroupMetaData) -> i64 {
    let first = group.column(0);
    first
        .dictionary_page_offset()
        .unwrap_or_else(|| first.data_page_offset())
}

/// Whether `arrays` have [`ROWS`] rows each but for the last one, and `rows` together.
fn is_cut_evenly(arrays: &[ArrayRef], rows: i64) -> bool {
    let lengths = arrays.iter().map(|array| array.len());
    let (mut sum, mut is_even) = (0, true);
    for length in lengths {
        is_even &= sum % ROWS == 0;
        sum += length;
    }
    is_even && i64::try_from(sum) == Ok(rows)
}

/// Bytes of `columns` of `group` when they are decoded, about: values that are many times there are stored once.
fn decoded_bytes(
    group: &RowGroupMetaData,
    columns: &[&NeededColumn],
    mask: &ProjectionMask,
) -> u64 {
    let leaves = group.columns().iter().enumerate();
    let stored = leaves.filter(|(leaf, _)| mask.leaf_included(*leaf));
    let stored: u64 = stored
        .map(|(_, chunk)| chunk.uncompressed_size().unsigned_abs())
        .sum();
    let widths = columns
        .iter()
        .map(|column| column.data_type.primitive_width());
    let widths: usize = widths.map(|width| width.unwrap_or(VIEW_BYTES)).sum();
    stored.max(group.num_rows().unsigned_abs() * widths as u64)
}
