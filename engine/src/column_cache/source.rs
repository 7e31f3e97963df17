//! A scan of data files that asks the cache of columns before DataFusion's Parquet reader.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use datafusion_datasource::PartitionedFile;
use datafusion_datasource::morsel::Morselizer;
use object_store::ObjectStore;

use super::fill::ROWS;
use super::scan::{CachedMorselizer, CachedScan};
use super::{ColumnCache, StatementNumber};

/// Lets the scans of a plan read through the cache. It runs when no other rule looks for a
/// [`ParquetSource`] any more.
#[derive(Debug)]
pub(crate) struct ReadThroughCache {
    pub(crate) cache: Arc<ColumnCache>,
}

impl PhysicalOptimizerRule for ReadThroughCache {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.cache.limit == 0 {
            return Ok(plan);
        }
        let statement = self.cache.next_statement();
        plan.transform_up(|node| {
            Ok(match cached(&node, &self.cache, statement) {
                Some(scan) => Transformed::yes(scan),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "ReadThroughCache"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn cached(
    node: &Arc<dyn ExecutionPlan>,
    cache: &Arc<ColumnCache>,
    statement: StatementNumber,
) -> Option<Arc<dyn ExecutionPlan>> {
    let scan = node.downcast_ref::<DataSourceExec>()?;
    let config = scan.data_source().downcast_ref::<FileScanConfig>()?;
    config.file_source.downcast_ref::<ParquetSource>()?;
    let source = CachedSource {
        inner: Arc::clone(&config.file_source),
        cache: Arc::clone(cache),
        statement,
        batch_size: None,
    };
    let config = FileScanConfigBuilder::from(config.clone())
        .with_source(Arc::new(source))
        .build();
    Some(DataSourceExec::from_data_source(config))
}

/// A [`ParquetSource`] behind the cache.
#[derive(Clone)]
struct CachedSource {
    inner: Arc<dyn FileSource>,
    cache: Arc<ColumnCache>,
    statement: StatementNumber,
    batch_size: Option<usize>,
}

impl FileSource for CachedSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let inner = self.inner.create_morselizer(store, config, partition)?;
        // Arrays are handed out whole: a plan with smaller batches has large constants for each
        // row.
        let takes_whole_arrays = self.batch_size.is_some_and(|rows| rows >= ROWS);
        let source = self.inner.downcast_ref::<ParquetSource>();
        let scan = match source.filter(|_| takes_whole_arrays) {
            Some(source) => CachedScan::of(source, config, partition, &self.cache, self.statement)?,
            None => None,
        };
        Ok(match scan {
            Some(scan) => Box::new(CachedMorselizer::new(inner, scan)),
            None => inner,
        })
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            inner: self.inner.with_batch_size(batch_size),
            batch_size: Some(batch_size),
            ..self.clone()
        })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_extra(format, f)
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(visit)
    }
}
