//! A data file: rows of one partition as Parquet, with its entry in the log.

pub(crate) mod statistics;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::Utc;
use deltalake_core::kernel::{Add, Remove};
use object_store::ObjectStoreExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use uuid::Uuid;

use crate::error::Error;
use crate::partition::{NULL_PARTITION, below, escape};
use crate::store::{Location, is_absent};

/// Rows of a row group: large enough to compress well, small enough that one scan task of a few
/// files still spreads over cores.
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// Bytes read from the end of a file in one go: footer and page index of a usual file fit.
pub const FOOTER_BYTES: usize = 64 << 10;

/// How the names of our data files begin. Only such files are removed as orphans: other tools that
/// write to the table manage their own.
pub(crate) const OUR_PREFIX: &str = "isobar-";

/// How often a file is uploaded while removals of orphan files delete its temporary file.
const STORE_TRIES: usize = 3;

/// A text column that is never filtered by range; statistics of it would only enlarge the log.
const WITHOUT_STATISTICS: &str = "value";

/// Rows of one partition as Parquet bytes, not yet stored. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    content: Bytes,
    statistics: Arc<str>,
    rows: u64,
}

/// A stored data file and its entry in the log, committed or not.
#[derive(Clone, Debug)]
pub struct DataFile {
    pub(crate) add: Add,
    /// Number of rows.
    pub rows: u64,
}

/// Encodes `batches`, whose columns are those of `schema` (without partition columns), in any
/// order.
///
/// Compresses on the calling thread: call it where blocking is allowed.
pub fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Encoded, ParquetError> {
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut content, Arc::clone(schema), Some(properties()))?;
    let mut with_nan = BTreeSet::new();
    for batch in batches {
        let batch = with_one_nan(&in_order(schema, batch)?)?;
        writer.write(&batch)?;
        with_nan.extend(statistics::with_nan(&batch));
    }
    let footer = writer.finish()?;
    let statistics = statistics::to_log(schema, &footer, &with_nan)?;
    let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default();
    drop(writer);
    // The content is kept until its commit; free the unused capacity of the buffer.
    content.shrink_to_fit();
    Ok(Encoded {
        content: Bytes::from(content),
        statistics: statistics.into(),
        rows,
    })
}

/// `batch` with its columns in the order of `schema`. The Parquet writer matches columns by
/// position, and a declaration may list them in another order than the table.
fn in_order(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let given = batch.schema();
    let names = |schema: &SchemaRef| -> Vec<String> {
        let fields = schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    };
    refuse_nulls(schema, batch)?;
    let (given_names, wanted) = (names(&given), names(schema));
    if given_names == wanted {
        return Ok(batch.clone());
    }
    if given_names.len() != wanted.len() {
        let message = format!("columns {given_names:?} are not {wanted:?}");
        return Err(ArrowError::SchemaError(message));
    }
    let places = wanted.iter().map(|name| given.index_of(name));
    batch.project(&places.collect::<Result<Vec<_>, _>>()?)
}

/// Refuses nulls in columns that another tool has made `NOT NULL`: the Parquet writer would store
/// zeros.
fn refuse_nulls(schema: &SchemaRef, batch: &RecordBatch) -> Result<(), ArrowError> {
    let mut required = schema.fields().iter().filter(|field| !field.is_nullable());
    let broken = required.find(|field| {
        let values = batch.column_by_name(field.name());
        values.is_some_and(|values| values.null_count() > 0)
    });
    broken.map_or(Ok(()), |field| {
        Err(ArrowError::InvalidArgumentError(format!(
            "column \"{}\" of the table is NOT NULL, and a row has no value for it",
            field.name()
        )))
    })
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_column_statistics_enabled(
            ColumnPath::from(WITHOUT_STATISTICS),
            EnabledStatistics::None,
        )
        .set_column_dictionary_enabled(ColumnPath::from(WITHOUT_STATISTICS), false)
        .build()
}

impl Encoded {
    /// Uploads the file to `table` under a new name in the directory of its partition. Readers do
    /// not see it before its commit.
    pub(crate) async fn store(
        self,
        table: &Location,
        partition: &[(String, String)],
    ) -> Result<DataFile, Error> {
        let size = self.content.len();
        let mut tries = 0;
        let relative = loop {
            let relative = path_of_new(partition);
            let path = below(table, &relative);
            tries += 1;
            match table.store().put(&path, self.content.clone().into()).await {
                Ok(_) => break relative,
                // Another process removed the temporary file as an orphan during the upload.
                Err(source) if is_absent(&source) && tries < STORE_TRIES => {}
                Err(source) => return Err(table.failed("write a data file to", source)),
            }
        };
        Ok(DataFile {
            add: Add {
                path: relative,
                partition_values: partition
                    .iter()
                    .map(|(column, value)| {
                        let value = (value != NULL_PARTITION).then(|| value.clone());
                        (column.clone(), value)
                    })
                    .collect::<HashMap<_, _>>(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                modification_time: Utc::now().timestamp_millis(),
                data_change: true,
                stats: Some(self.statistics.to_string()),
                tags: Some(statistics::tags()),
                ..Add::default()
            },
            rows: self.rows,
        })
    }
}

/// A new, unique path below the table's directory.
fn path_of_new(partition: &[(String, String)]) -> String {
    let name = format!("{OUR_PREFIX}{}.zstd.parquet", Uuid::new_v4());
    let directories = partition
        .iter()
        .map(|(column, value)| format!("{column}={}", escape(value)));
    directories.chain([name]).collect::<Vec<_>>().join("/")
}

impl DataFile {
    /// A data file that the log has.
    pub(crate) fn from_log(
        path: &str,
        values: &HashMap<String, Option<String>>,
        size: u64,
        rows: u64,
    ) -> Self {
        Self {
            add: Add {
                path: path.to_owned(),
                partition_values: values.clone(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                ..Add::default()
            },
            rows,
        }
    }

    /// Path below the table's directory.
    pub fn path(&self) -> &str {
        &self.add.path
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.add.size).unwrap_or_default()
    }

    /// The action that takes this file out of the table.
    pub(crate) fn removal(&self) -> Remove {
        Remove {
            path: self.add.path.clone(),
            data_change: true,
            deletion_timestamp: Some(Utc::now().timestamp_millis()),
            extended_file_metadata: Some(true),
            partition_values: Some(self.add.partition_values.clone()),
            size: Some(self.add.size),
            ..Remove::default()
        }
    }
}

/// `batch` with one NaN, whatever computed it: readers prune data files by their values as stored.
fn with_one_nan(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter();
    let columns = columns.map(|column| match column.data_type() {
        DataType::Float64 => one_nan::<Float64Type>(column, f64::is_nan, f64::NAN),
        DataType::Float32 => one_nan::<Float32Type>(column, f32::is_nan, f32::NAN),
        _ => Arc::clone(column),
    });
    RecordBatch::try_new(batch.schema(), columns.collect())
}

fn one_nan<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    is_nan: impl Fn(T::Native) -> bool,
    nan: T::Native,
) -> ArrayRef {
    let values = column.as_primitive::<T>();
    if !values.values().iter().any(|x| is_nan(*x)) {
        return Arc::clone(column);
    }
    Arc::new(values.unary::<_, T>(|x| if is_nan(x) { nan } else { x }))
}
