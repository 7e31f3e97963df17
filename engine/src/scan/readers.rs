//! Readers of data files that report why a read fails.
//!
//! DataFusion reduces the cause to text when a footer cannot be read, so an unreachable server or a
//! file that another tool deleted looks like a broken file. After a failure the reader looks the
//! file up in the store, and reports the store's error as the cause.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lake::Failure;
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

/// Creates readers that cache footers, as DataFusion's own factory does.
#[derive(Debug)]
pub(super) struct Readers {
    inner: CachedParquetFileReaderFactory,
    store: Arc<DynObjectStore>,
}

impl Readers {
    pub(super) fn new(store: Arc<DynObjectStore>, footers: Arc<FileMetadataCache>) -> Self {
        Self {
            inner: CachedParquetFileReaderFactory::new(Arc::clone(&store), footers),
            store,
        }
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path = file.object_meta.location.clone();
        let inner = self
            .inner
            .create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(Reader {
            inner,
            location: FileLocation {
                store: Arc::clone(&self.store),
                path,
            },
        }))
    }
}

struct Reader {
    inner: Box<dyn AsyncFileReader + Send>,
    location: FileLocation,
}

#[derive(Clone)]
struct FileLocation {
    store: Arc<DynObjectStore>,
    path: Path,
}

impl FileLocation {
    /// The store's error for this file if it has one, else `error`.
    async fn explain(self, error: ParquetError) -> ParquetError {
        match self.store.head(&self.path).await {
            Ok(_) => error,
            Err(object_store::Error::NotFound { .. }) => {
                let path = self.path.to_string();
                ParquetError::External(Box::new(Failure::Gone { path }))
            }
            Err(cause) => ParquetError::External(Box::new(cause)),
        }
    }

    async fn explained<T>(
        self,
        read: BoxFuture<'_, parquet::errors::Result<T>>,
    ) -> parquet::errors::Result<T> {
        match read.await {
            Ok(read) => Ok(read),
            Err(error) => Err(self.explain(error).await),
        }
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let location = self.location.clone();
        location.explained(self.inner.get_bytes(range)).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        let location = self.location.clone();
        location
            .explained(self.inner.get_byte_ranges(ranges))
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let location = self.location.clone();
        location.explained(self.inner.get_metadata(options)).boxed()
    }
}
