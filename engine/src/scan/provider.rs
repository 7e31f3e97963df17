//! A snapshot as a DataFusion table: files chosen by the log, read by DataFusion's own Parquet
//! scan.
//!
//! The only part of the plan that is specific to Isobar opens data files. A serialized plan works
//! without it.

use std::sync::Arc;

use arrow::array::{AsArray as _, new_empty_array, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion_datasource::compute_all_files_statistics;
use lake::{FOOTER_BYTES, Snapshot, SnapshotFile, Stores};
use object_store::ObjectMeta;
use url::Url;

use super::adapter::Adapters;
use super::late;
use super::pruning::prune;
use super::readers::Readers;
use crate::rules::conditions::guards;

/// One version of a table for queries.
#[derive(Debug)]
pub struct LakeTable {
    snapshot: Arc<Snapshot>,
    /// Columns in the order of scans: those of the data files, then the partition columns.
    scanned: SchemaRef,
    /// Columns in the order of their declaration.
    columns: SchemaRef,
}

/// A data file that a scan reads.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Path below the table.
    pub path: String,
    /// Value of the first partition column, if there is one.
    pub partition: Option<ScalarValue>,
}

/// The files that a scan reads, and the predicate that it evaluates on every row.
struct Chosen<'a> {
    files: Vec<&'a SnapshotFile>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
}

/// A filter on partition columns.
struct PartitionFilter {
    filter: Arc<dyn PhysicalExpr>,
    may_fail: bool,
}

impl PartitionFilter {
    /// Which files the filter keeps; each row of `values` has the partition values of one file.
    ///
    /// A file on which the filter fails is kept: the scan decides row by row whether the query
    /// fails.
    fn kept(&self, values: &RecordBatch) -> Result<Vec<bool>> {
        let rows = values.num_rows();
        let kept = self.filter.evaluate(values);
        match kept.and_then(|kept| kept.into_array(rows)) {
            Ok(kept) => {
                let kept = kept.as_boolean();
                Ok(kept.iter().map(|kept| kept == Some(true)).collect())
            }
            Err(_) if self.may_fail && rows > 1 => {
                let each = (0..rows).map(|row| self.kept(&values.slice(row, 1)));
                Ok(each.collect::<Result<Vec<_>>>()?.concat())
            }
            Err(_) if self.may_fail => Ok(vec![true; rows]),
            Err(error) => Err(error),
        }
    }
}

impl LakeTable {
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let partition: Vec<&str> = snapshot.partition_columns().collect();
        let viewed = |schema: SchemaRef| with_views(&schema, &partition);
        let scanned = viewed(Arc::clone(snapshot.schema()));
        let columns = viewed(snapshot.columns());
        Self {
            snapshot,
            scanned,
            columns,
        }
    }

    /// The table at `url` in its version `version`: what one process sends to another one, instead
    /// of the snapshot itself, so that both scan the same rows.
    ///
    /// # Errors
    /// When there is no such table or version.
    pub async fn at_url(stores: &Stores, url: &Url, version: u64) -> Result<Self, lake::Error> {
        let snapshot = Snapshot::at_url(stores, url, version).await?;
        Ok(Self::new(Arc::new(snapshot)))
    }

    /// Splits `filters` into those on partition columns and those on rows, and drops the files that
    /// either excludes.
    fn choose(&self, state: &dyn Session, filters: &[Expr]) -> Result<Chosen<'_>> {
        let names = DFSchema::try_from(Arc::clone(&self.scanned))?;
        let physical = |filters: Vec<Expr>| {
            conjunction(filters)
                .map(|filter| state.create_physical_expr(filter, &names))
                .transpose()
        };
        let partition: Vec<_> = self.snapshot.partition_columns().collect();
        let (by_partition, by_row): (Vec<Expr>, Vec<Expr>) = filters
            .iter()
            .cloned()
            .partition(|filter| expr_applicable_for_cols(&partition, filter));
        let predicate = physical(by_row)?;
        let by_partition = by_partition.into_iter().map(|filter| {
            Ok(PartitionFilter {
                may_fail: self.may_fail(&filter),
                filter: state.create_physical_expr(filter, &names)?,
            })
        });
        let by_partition = by_partition.collect::<Result<Vec<_>>>()?;
        let files = self.select(&by_partition, predicate.as_ref())?;
        Ok(Chosen { files, predicate })
    }

    /// The data files that a scan with `filters` would read.
    pub fn input_files(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<InputFile>> {
        let chosen = self.choose(state, filters)?;
        let files = chosen.files.into_iter();
        Ok(files
            .map(|file| InputFile {
                path: file.relative.clone(),
                partition: file.partition.first().cloned(),
            })
            .collect())
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Whether a filter may fail on some values. Such a filter is evaluated again on every row. So
    /// is one on floats, whose NaN and zeros are ordered by rules over the whole plan.
    fn may_fail(&self, filter: &Expr) -> bool {
        let schema = &self.scanned;
        let mut columns = filter.column_refs().into_iter();
        let is_float = |name: &str| {
            let field = schema.field_with_name(name);
            field.is_ok_and(|field| field.data_type().is_floating())
        };
        if columns.any(|column| is_float(&column.name)) {
            return true;
        }
        let filter = unnormalize_col(filter.clone());
        let names = DFSchema::try_from(Arc::clone(&self.scanned));
        names
            .and_then(|names| guards::may_fail(&filter, &names))
            .unwrap_or(true)
    }

    /// Files that may hold rows for which all of `partition` and `predicate` are true.
    fn select(
        &self,
        partition: &[PartitionFilter],
        predicate: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Vec<&SnapshotFile>> {
        let mut files: Vec<_> = self.snapshot.files().iter().map(Arc::as_ref).collect();
        if !partition.is_empty() {
            let values = self.partition_values()?;
            let kept = partition.iter().map(|filter| filter.kept(&values));
            let kept = kept.collect::<Result<Vec<_>>>()?;
            let all = |index: usize| kept.iter().all(|kept| kept[index]);
            let kept = files.into_iter().enumerate();
            files = kept
                .filter_map(|(index, file)| all(index).then_some(file))
                .collect();
        }
        Ok(match predicate {
            Some(predicate) => prune(files, &self.scanned, predicate),
            None => files,
        })
    }

    /// One row for each file: its partition values, nulls elsewhere. A filter on partition columns
    /// has the same result on this row as on every row of the file.
    fn partition_values(&self) -> Result<RecordBatch> {
        let schema = &self.scanned;
        let files = self.snapshot.files();
        let first = self.snapshot.file_schema().fields().len();
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            match index.checked_sub(first) {
                None => Ok(new_null_array(field.data_type(), files.len())),
                Some(_) if files.is_empty() => Ok(new_empty_array(field.data_type())),
                Some(index) => ScalarValue::iter_to_array(
                    files.iter().map(|file| file.partition[index].clone()),
                ),
            }
        });
        let nullable = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect::<Vec<_>>();
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(files.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(Schema::new(nullable)),
            columns,
            &rows,
        )?)
    }

    /// The first files that have `limit` rows together. Valid only when no filter follows.
    fn enough(files: Vec<&SnapshotFile>, limit: Option<usize>) -> Vec<&SnapshotFile> {
        let Some(limit) = limit else { return files };
        let limit = limit as u64;
        let mut rows = 0;
        let mut taken = Vec::new();
        for file in files {
            if rows >= limit {
                break;
            }
            rows += file.rows().unwrap_or_default();
            taken.push(file);
        }
        taken
    }

    fn partitioned(&self, file: &SnapshotFile) -> PartitionedFile {
        let meta = ObjectMeta {
            location: file.path.clone(),
            last_modified: DateTime::from_timestamp_millis(file.modified_ms).unwrap_or_default(),
            size: file.size,
            e_tag: None,
            version: None,
        };
        let mut partitioned = PartitionedFile::new_from_meta(meta);
        partitioned.partition_values = file.partition.clone();
        partitioned.statistics = Some(Arc::clone(file.statistics()));
        partitioned
    }
}

/// `columns` with the texts of data files as views: they are decoded without a copy and compared by
/// their first bytes. Outputs convert views back.
fn with_views(columns: &Schema, partition: &[&str]) -> SchemaRef {
    let fields = columns.fields().iter().map(|field| {
        let is_text = field.data_type() == &DataType::Utf8;
        if is_text && !partition.contains(&field.name().as_str()) {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
        } else {
            Arc::clone(field)
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let partition: Vec<_> = self.snapshot.partition_columns().collect();
        let support = |filter: &&Expr| {
            if expr_applicable_for_cols(&partition, filter) && !self.may_fail(filter) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = Arc::clone(&self.scanned);
        let wanted: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.columns.fields().len()).collect(),
        };
        let Chosen { files, predicate } = self.choose(state, filters)?;
        // A limit counts rows after the filters, so it ends the scan only without a predicate.
        let limit = if predicate.is_none() { limit } else { None };
        let files = Self::enough(files, limit);
        if files.is_empty() {
            let projected = Arc::new(self.columns.project(&wanted)?);
            return Ok(Arc::new(EmptyExec::new(projected)));
        }
        let scanned = wanted
            .iter()
            .map(|index| schema.index_of(self.columns.field(*index).name()))
            .collect::<Result<Vec<_>, _>>()?;
        let group: FileGroup = files
            .into_iter()
            .map(|file| self.partitioned(file))
            .collect();
        let (groups, statistics) = compute_all_files_statistics(
            group.split_files(state.config().target_partitions()),
            Arc::clone(&schema),
            true,
            false,
        )?;
        let runtime = state.runtime_env();
        let url = ObjectStoreUrl::parse(self.snapshot.location().store_url())?;
        let readers = Readers::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let partitioned_by: Vec<_> = self.snapshot.partition_columns().collect();
        let fields = schema.fields();
        let (of_files, of_partition) = fields.split_at(fields.len() - partitioned_by.len());
        let of_rows = filters.iter();
        let of_rows = of_rows.filter(|filter| !expr_applicable_for_cols(&partitioned_by, filter));
        let of_rows: Vec<Expr> = of_rows.cloned().collect();
        let keeps_most = |predicate| late::keeps_most(predicate, &schema, &statistics);
        let is_late = late::is_worth_it(&self.columns, &wanted, &of_rows)
            && !predicate.as_ref().is_some_and(keeps_most);
        // DataFusion's rule FilterPushdown sets the predicate of the source.
        let source = ParquetSource::new(
            TableSchema::builder(Arc::new(Schema::new(of_files.to_vec())))
                .with_table_partition_cols(of_partition.to_vec())
                .build(),
        )
        .with_table_parquet_options(state.table_options().parquet.clone())
        .with_pushdown_filters(is_late)
        .with_parquet_file_reader_factory(Arc::new(readers))
        .with_metadata_size_hint(FOOTER_BYTES);
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(scanned))?
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::new(Adapters)))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
