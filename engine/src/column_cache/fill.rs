//! Decodes columns of a data file into the cache, one row group at a time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::datasource::physical_plan::parquet::apply_file_schema_type_coercions;
use datafusion::error::Result;
use datafusion_datasource::PartitionedFile;
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};
use futures::TryStreamExt as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, RowGroupMetaData};

use super::decoded::{ColumnBuilder, DecodedColumn};
use super::scan::{CachedScan, Rows};
use super::{FileId, NeededColumn, RowGroupOffsets, Steps};
use lake::FOOTER_BYTES;

/// Rows of one array: those of a batch of DataFusion, so that arrays are handed out as batches.
pub(super) const ROWS: usize = 8_192;

/// Of a text, beside its characters.
const VIEW_BYTES: usize = 16;

/// Plans a file whose columns are worth keeping: row group after row group, and the rest without
/// the cache when there is no more room.
pub(super) struct Fill {
    inner: Arc<dyn Morselizer>,
    scan: Arc<CachedScan>,
    file: PartitionedFile,
    /// None until the footer is read.
    groups: Option<RowGroups>,
}

/// The row groups of a file that are still to be read.
struct RowGroups {
    metadata: ArrowReaderMetadata,
    offsets: RowGroupOffsets,
    rest: VecDeque<usize>,
}

/// The rows of one row group, and the planner of those behind it.
struct Filled {
    rows: Rows,
    rest: Fill,
}

impl Fill {
    pub(super) fn new(
        inner: &Arc<dyn Morselizer>,
        scan: &Arc<CachedScan>,
        file: PartitionedFile,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            scan: Arc::clone(scan),
            file,
            groups: None,
        }
    }

    async fn next(mut self) -> Result<Box<dyn MorselPlanner>> {
        let mut groups = match self.groups.take() {
            Some(groups) => groups,
            // The usual reader says best why a file cannot be read.
            None => match self.scan.row_groups(&self.file).await {
                Ok(Some(groups)) => groups,
                Ok(None) | Err(_) => return self.inner.plan_file(self.file),
            },
        };
        let Some(row_group) = groups.rest.pop_front() else {
            return Ok(Box::new(End));
        };
        match self.scan.columns_of(&self.file, &groups, row_group).await {
            Ok(Some(columns)) => {
                let rows = self.scan.rows(&self.file, vec![columns])?;
                self.groups = Some(groups);
                Ok(Box::new(Filled { rows, rest: self }))
            }
            Ok(None) | Err(_) => {
                let end = self.file.range.as_ref().map_or(i64::MAX, |range| range.end);
                let file = self.file.with_range(groups.offsets[row_group], end);
                self.inner.plan_file(file)
            }
        }
    }
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill").finish_non_exhaustive()
    }
}

impl MorselPlanner for Fill {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        Ok(Some(MorselPlan::new().with_pending_planner(self.next())))
    }
}

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filled").finish_non_exhaustive()
    }
}

impl MorselPlanner for Filled {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { rows, rest } = *self;
        let plan = MorselPlan::new().with_morsels(vec![Box::new(rows)]);
        Ok(Some(plan.with_planners(vec![Box::new(rest)])))
    }
}

/// Behind the last row group.
#[derive(Debug)]
struct End;

impl MorselPlanner for End {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        Ok(None)
    }
}

impl CachedScan {
    /// The row groups that begin in the range of `file`. None when a column is not there in
    /// the type of the table.
    async fn row_groups(&self, file: &PartitionedFile) -> Result<Option<RowGroups>> {
        let Some(metadata) = self.metadata(file).await? else {
            return Ok(None);
        };
        let row_groups = metadata.metadata().row_groups();
        let offsets: RowGroupOffsets = row_groups.iter().map(offset).collect();
        let range = file.range.as_ref();
        let rest = (0..offsets.len())
            .filter(|group| range.is_none_or(|range| range.contains(offsets[*group])))
            .collect();
        Ok(Some(RowGroups {
            metadata,
            offsets,
            rest,
        }))
    }

    /// The columns of one row group. None when there is no room for those that are missing.
    async fn columns_of(
        &self,
        file: &PartitionedFile,
        groups: &RowGroups,
        row_group: usize,
    ) -> Result<Option<Vec<Arc<DecodedColumn>>>> {
        let id = self.id_of(file);
        let found = self.columns.iter();
        let found = found.map(|needed| self.cache.get(&id, row_group, needed));
        let found: Vec<Option<Arc<DecodedColumn>>> = found.collect();
        let missing = self.columns.iter().zip(&found);
        let missing = missing.filter(|(_, found)| found.is_none());
        let missing: Vec<&NeededColumn> = missing.map(|(needed, _)| needed).collect();
        let decoded = self.decode(file, &id, groups, row_group, &missing).await?;
        let Some(decoded) = decoded else {
            return Ok(None);
        };
        let kept = missing.iter().zip(decoded).map(|(needed, decoded)| {
            let column = needed.of(row_group);
            self.cache.insert(&id, &groups.offsets, column, decoded)
        });
        let mut kept = kept.collect::<Vec<_>>().into_iter();
        let columns = found.into_iter().map(|found| found.or_else(|| kept.next()));
        Ok(columns.collect())
    }

    fn reader(&self, file: &PartitionedFile) -> Result<Box<dyn AsyncFileReader>> {
        let footer_bytes = file.metadata_size_hint.or(Some(FOOTER_BYTES));
        let file = file.clone();
        let reader =
            self.readers
                .create_reader(self.partition, file, footer_bytes, &self.metrics)?;
        Ok(reader)
    }

    /// The footer of `file` with the types that the scan reads; none when a column is not there in
    /// its type.
    async fn metadata(&self, file: &PartitionedFile) -> Result<Option<ArrowReaderMetadata>> {
        let mut reader = self.reader(file)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        let mut metadata = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await?;
        if let Some(coerced) = apply_file_schema_type_coercions(&self.schema, metadata.schema()) {
            let options = options.with_schema(Arc::new(coerced));
            metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
        }
        let of_file = metadata.schema();
        let is_there = |needed: &&NeededColumn| {
            let field = of_file.field_with_name(&needed.name);
            field.is_ok_and(|field| field.data_type() == &needed.data_type)
        };
        if self.columns.iter().all(|needed| is_there(&needed)) {
            return Ok(Some(metadata));
        }
        let others = self.columns.iter().filter(|needed| !is_there(needed));
        self.cache.refuse(&self.id_of(file), others);
        Ok(None)
    }

    async fn decode(
        &self,
        file: &PartitionedFile,
        id: &FileId,
        groups: &RowGroups,
        row_group: usize,
        columns: &[&NeededColumn],
    ) -> Result<Option<Vec<Arc<DecodedColumn>>>> {
        if columns.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let metadata = &groups.metadata;
        let schema = metadata.schema();
        let roots = columns.iter().map(|column| schema.index_of(&column.name));
        let roots = roots.collect::<Result<Vec<_>, _>>()?;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let group = metadata.metadata().row_group(row_group);
        let mut expected = decoded_bytes(group, columns, &mask);
        if is_uncompressed(group, &mask) {
            self.cache.refuse(id, columns.iter().copied());
            return Ok(None);
        }
        if !self.cache.make_room(expected) {
            return Ok(None);
        }
        let reader = self.reader(file)?;
        let batches = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![row_group])
            .with_batch_size(ROWS)
            .build()?;
        let new = |_: &&NeededColumn| ColumnBuilder::default();
        let mut decoded: Vec<ColumnBuilder> = columns.iter().map(new).collect();
        let mut batches = batches.into_stream();
        let mut steps = Steps::begin();
        while let Some(batch) = batches.try_next().await? {
            for (column, decoded) in columns.iter().zip(&mut decoded) {
                let index = batch.schema_ref().index_of(&column.name)?;
                decoded.push(Arc::clone(batch.column(index)));
            }
            // Values that a file stores once and rows have many times may be far larger than it
            // says.
            let bytes = decoded.iter().map(ColumnBuilder::bytes).sum();
            if bytes > expected.saturating_mul(2) {
                expected = bytes;
                if !self.cache.make_room(expected.saturating_mul(2)) {
                    self.cache.refuse(id, columns.iter().copied());
                    return Ok(None);
                }
            }
            steps.yield_if_long().await;
        }
        // Columns that are decoded at different times are served side by side.
        let rows = group.num_rows();
        if !decoded
            .iter()
            .all(|column| is_cut_evenly(column.arrays(), rows))
        {
            return Ok(None);
        }
        let decoded = decoded.into_iter().map(|column| Arc::new(column.finish()));
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

/// Whether pages are not compressed. Views of texts then point into all that was read at once,
/// other columns included, and would keep it in memory.
fn is_uncompressed(group: &RowGroupMetaData, mask: &ProjectionMask) -> bool {
    let mut read = chunks(group, mask);
    read.any(|chunk| chunk.compression() == Compression::UNCOMPRESSED)
}

/// What the columns of `mask` are stored as in `group`.
fn chunks<'a>(
    group: &'a RowGroupMetaData,
    mask: &'a ProjectionMask,
) -> impl Iterator<Item = &'a ColumnChunkMetaData> {
    let leaves = group.columns().iter().enumerate();
    let read = leaves.filter(|(leaf, _)| mask.leaf_included(*leaf));
    read.map(|(_, chunk)| chunk)
}

/// Whether `arrays` have [`ROWS`] rows each but for the last one, and `rows` together.
fn is_cut_evenly(arrays: &[ArrayRef], rows: i64) -> bool {
    let (mut sum, mut is_even) = (0, true);
    for array in arrays {
        is_even &= sum % ROWS == 0;
        sum += array.len();
    }
    is_even && i64::try_from(sum) == Ok(rows)
}

/// Bytes of `columns` of `group` when they are decoded, about: values that are many times there are
/// stored once.
fn decoded_bytes(
    group: &RowGroupMetaData,
    columns: &[&NeededColumn],
    mask: &ProjectionMask,
) -> u64 {
    let stored = chunks(group, mask).map(|chunk| chunk.uncompressed_size().unsigned_abs());
    let stored: u64 = stored.sum();
    let widths = columns
        .iter()
        .map(|column| column.data_type.primitive_width());
    let widths: usize = widths.map(|width| width.unwrap_or(VIEW_BYTES)).sum();
    stored.max(group.num_rows().unsigned_abs() * widths as u64)
}
