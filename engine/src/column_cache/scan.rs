//! How a scan reads a file: from the cache, into the cache, or as without one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::ScalarValue;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileSource as _, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::DynamicFilterTracking;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, split_conjunction};
use datafusion::physical_expr_adapter::replace_columns_with_literals;
use datafusion::physical_optimizer::pruning::FilePruner;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet};
use datafusion_datasource::PartitionedFile;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};

use super::fill::Fill;
use super::{ColumnCache, DecodedColumn, FileId, Found, NeededColumn, StatementNumber, Steps};

/// Functions of DataFusion that only its own reader evaluates.
const OF_THE_READER: [&str; 2] = ["input_file_name", "file_row_index"];

/// What a scan makes of the files of its partition of the plan.
pub(super) struct CachedScan {
    pub(super) cache: Arc<ColumnCache>,
    pub(super) columns: Vec<NeededColumn>,
    /// `columns` as rows. All may be null: what the table says of that holds for its rows, and
    /// these are not filtered yet.
    pub(super) schema: SchemaRef,
    pub(super) readers: Arc<dyn ParquetFileReaderFactory>,
    pub(super) metrics: ExecutionPlanMetricsSet,
    pub(super) partition: usize,
    statement: StatementNumber,
    store: Arc<str>,
    of_files: SchemaRef,
    partitioned_by: Vec<FieldRef>,
    projection: ProjectionExprs,
    /// A predicate that other operators tighten while they run, of a join or of ORDER BY with
    /// LIMIT. It rules files out; what it holds from the start has done so in planning.
    dynamic: Option<Arc<dyn PhysicalExpr>>,
    /// Each is evaluated on the rows that the ones before it keep.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    output: SchemaRef,
    /// Whether the plan takes few rows: then columns are read from the cache and not into it.
    is_limited: bool,
}

impl CachedScan {
    /// None for a scan that reads no column, or something that no data file has.
    pub(super) fn of(
        source: &ParquetSource,
        config: &FileScanConfig,
        partition: usize,
        cache: &Arc<ColumnCache>,
        statement: StatementNumber,
    ) -> Result<Option<Arc<Self>>> {
        let table = source.table_schema();
        let (Some(projection), Some(readers)) =
            (source.projection(), source.parquet_file_reader_factory())
        else {
            return Ok(None);
        };
        // DataFusion leaves the rows to the plan above unless the source filters them, see
        // `scan::late`.
        let filters_rows = source.table_parquet_options().global.pushdown_filters;
        let predicate = source.filter();
        let filters = predicate.iter().filter(|_| filters_rows);
        let filters = filters.flat_map(split_conjunction).cloned();
        let filters: Vec<Arc<dyn PhysicalExpr>> = filters.collect();
        let projected = projection.iter().map(|projected| &projected.expr);
        let all: Vec<&Arc<dyn PhysicalExpr>> = projected.chain(&filters).collect();
        if !table.virtual_columns().is_empty() || all.iter().any(|expr| is_of_the_reader(expr)) {
            return Ok(None);
        }
        let of_files = table.file_schema();
        let mut indices: Vec<usize> = all
            .iter()
            .flat_map(|expr| collect_columns(expr))
            .filter_map(|column| of_files.index_of(column.name()).ok())
            .collect();
        indices.sort_unstable();
        indices.dedup();
        if indices.is_empty() {
            return Ok(None);
        }
        let fields = indices.iter().map(|index| of_files.field(*index));
        let columns = fields.clone().map(|field| NeededColumn {
            name: field.name().as_str().into(),
            data_type: field.data_type().clone(),
        });
        let nullable = fields
            .clone()
            .map(|field| field.clone().with_nullable(true));
        Ok(Some(Arc::new(Self {
            cache: Arc::clone(cache),
            columns: columns.collect(),
            schema: Arc::new(Schema::new(nullable.collect::<Vec<Field>>())),
            readers: Arc::clone(readers),
            metrics: source.metrics().clone(),
            partition,
            statement,
            store: config.object_store_url.as_str().into(),
            of_files: Arc::clone(of_files),
            partitioned_by: table.table_partition_cols().to_vec(),
            output: Arc::new(projection.project_schema(table.table_schema())?),
            projection: projection.clone(),
            dynamic: predicate.filter(is_dynamic),
            filters,
            is_limited: config.limit.is_some(),
        })))
    }

    pub(super) fn id_of(&self, file: &PartitionedFile) -> FileId {
        FileId {
            store: Arc::clone(&self.store),
            path: file.object_meta.location.clone(),
            size: file.object_meta.size,
            modified_ms: file.object_meta.last_modified.timestamp_millis(),
        }
    }

    /// Whether other operators have ruled `file` out by now.
    fn is_ruled_out(&self, file: &PartitionedFile) -> Result<bool> {
        let Some(predicate) = self.dynamic.clone() else {
            return Ok(false);
        };
        let predicate = replace_columns_with_literals(predicate, &self.constants(file))?;
        let pruner = FilePruner::try_new(predicate, &self.of_files, file, Count::new());
        pruner.map_or(Ok(false), |mut pruner| pruner.should_prune())
    }

    /// The values of the partition columns of `file`.
    fn constants<'a>(&'a self, file: &'a PartitionedFile) -> HashMap<&'a str, &'a ScalarValue> {
        let names = self
            .partitioned_by
            .iter()
            .map(|field| field.name().as_str());
        names.zip(&file.partition_values).collect()
    }

    /// The rows of a file of which the columns are there.
    pub(super) fn rows(
        &self,
        file: &PartitionedFile,
        groups: Vec<Vec<Arc<DecodedColumn>>>,
    ) -> Result<Rows> {
        let adapter = self.adapter(file)?;
        let batches = groups.into_iter().flat_map(|columns| {
            let arrays = columns.first().map_or(0, |column| column.arrays.len());
            (0..arrays).map(move |at| {
                let columns = columns.iter();
                columns
                    .map(|column| Arc::clone(&column.arrays[at]))
                    .collect()
            })
        });
        let start = (batches, adapter, Steps::begin());
        let rows = unfold(start, |(mut batches, adapter, mut steps)| async move {
            loop {
                // Batches of which the filters keep no row would be one long step.
                steps.yield_if_long().await;
                let columns: Vec<ArrayRef> = batches.next()?;
                if let Some(rows) = adapter.adapt(columns).transpose() {
                    return Some((rows, (batches, adapter, steps)));
                }
            }
        });
        Ok(Rows(rows.boxed()))
    }

    /// What makes rows of the table of the columns of `file`.
    fn adapter(&self, file: &PartitionedFile) -> Result<RowAdapter> {
        let constants = self.constants(file);
        let adapted = |expr: Arc<dyn PhysicalExpr>| {
            let expr = replace_columns_with_literals(expr, &constants)?;
            reassign_expr_columns(expr, &self.schema)
        };
        let filters = self.filters.iter().cloned().map(adapted);
        Ok(RowAdapter {
            filters: filters.collect::<Result<_>>()?,
            projection: self.projection.clone().try_map_exprs(adapted)?,
            schema: Arc::clone(&self.schema),
            output: Arc::clone(&self.output),
        })
    }
}

fn is_dynamic(predicate: &Arc<dyn PhysicalExpr>) -> bool {
    DynamicFilterTracking::classify(predicate).contains_dynamic_filter()
}

fn is_of_the_reader(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let is_function = |expr: &Arc<dyn PhysicalExpr>| {
        let function = expr.downcast_ref::<ScalarFunctionExpr>();
        Ok(function.is_some_and(|function| OF_THE_READER.contains(&function.fun().name())))
    };
    expr.exists(is_function).unwrap_or(true)
}

struct RowAdapter {
    filters: Vec<Arc<dyn PhysicalExpr>>,
    projection: ProjectionExprs,
    schema: SchemaRef,
    output: SchemaRef,
}

impl RowAdapter {
    /// The rows of `columns` that the filters keep, none if there are none.
    fn adapt(&self, columns: Vec<ArrayRef>) -> Result<Option<RecordBatch>> {
        let mut rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        for filter in &self.filters {
            let kept = filter.evaluate(&rows)?.into_array(rows.num_rows())?;
            rows = filter_record_batch(&rows, as_boolean_array(&kept)?)?;
            if rows.num_rows() == 0 {
                return Ok(None);
            }
        }
        let projected = self.projection.iter();
        let projected = projected.map(|projected| {
            let made = projected.expr.evaluate(&rows)?;
            made.into_array(rows.num_rows())
        });
        let projected = projected.collect::<Result<Vec<_>>>()?;
        let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let output = Arc::clone(&self.output);
        Ok(Some(RecordBatch::try_new_with_options(
            output, projected, &count,
        )?))
    }
}

/// Plans each file by what the cache has of it.
pub(super) struct CachedMorselizer {
    /// How a file is read without the cache.
    inner: Arc<dyn Morselizer>,
    scan: Arc<CachedScan>,
}

impl CachedMorselizer {
    pub(super) fn new(inner: Box<dyn Morselizer>, scan: Arc<CachedScan>) -> Self {
        let inner = Arc::from(inner);
        Self { inner, scan }
    }
}

impl fmt::Debug for CachedMorselizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedMorselizer")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl Morselizer for CachedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let scan = &self.scan;
        if scan.is_ruled_out(&file)? {
            return self.inner.plan_file(file);
        }
        let range = file.range.clone();
        let begins_in = |offset| range.as_ref().is_none_or(|range| range.contains(offset));
        let id = scan.id_of(&file);
        match scan
            .cache
            .find(&id, begins_in, &scan.columns, scan.statement)
        {
            Found::All(groups) => Ok(Box::new(scan.rows(&file, groups)?)),
            Found::Worthwhile if !scan.is_limited => {
                Ok(Box::new(Fill::new(&self.inner, scan, file)))
            }
            Found::Worthwhile | Found::Unknown => self.inner.plan_file(file),
        }
    }
}

/// Rows that are in memory, as a planner and as what it plans.
pub(super) struct Rows(BoxStream<'static, Result<RecordBatch>>);

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}

impl MorselPlanner for Rows {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        Ok(Some(MorselPlan::new().with_morsels(vec![self])))
    }
}

impl Morsel for Rows {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        self.0
    }
}
