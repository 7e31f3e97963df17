//! One version of a table: its schema, its data files and what the log records about them.

pub(crate) mod features;
mod file;
mod files;
mod history;
mod log_replay;
mod log_text;
mod positions;
mod time_travel;
mod transactions;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use deltalake_core::kernel::Metadata;
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt as _;
use object_store::DynObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use tokio::sync::OnceCell;
use url::Url;

use self::file::Layout;
pub use self::file::SnapshotFile;
pub use self::files::Files;
pub use self::history::History;
use self::log_replay::{LogDelta, log_entry, replay_log};
use self::log_text::LogText;
pub use self::positions::{IDENTITY, PositionNames, SourceProgress, TopicNames};
pub use self::time_travel::AsOf;
use self::time_travel::{IN_COMMIT_TIMESTAMPS, LogListing};
use self::transactions::Transactions;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::name::TableName;
use crate::partition::{NULL_PARTITION, PartitionKey, below};
use crate::store::{Failure, Location, Stores};

/// One version of a table. Immutable: a newer version is another snapshot.
#[derive(Debug)]
pub struct Snapshot {
    name: TableName,
    location: Location,
    log: LogStoreRef,
    /// What the library read when the table was opened, at this version or an earlier one.
    /// Protocol, metadata and properties are still valid; the current data files are in `files`.
    opened: Arc<DeltaTableState>,
    version: u64,
    /// All columns, the partition columns last, as every reader sees them.
    schema: SchemaRef,
    /// How many of the columns are partition columns.
    partition_columns: usize,
    files: Files,
    /// When the log entry of this version was written, milliseconds since the epoch; `None` when
    /// log cleanup has deleted the entry. Log entries are immutable: a different modification time
    /// means that the table was dropped and recreated.
    entry_ms: Option<i64>,
    /// The application transactions up to this version, read on first use. `None` inside when only
    /// the library can read the log.
    transactions: OnceCell<Option<Arc<Transactions>>>,
    /// The application transactions up to an earlier version, if an earlier snapshot has read them.
    earlier: Option<(u64, Arc<Transactions>)>,
}

impl Snapshot {
    /// The newest version, or `None` when there is no table at `location`.
    pub(crate) async fn open(name: &TableName, location: &Location) -> Result<Option<Self>, Error> {
        // The library distinguishes "no log" from "log unreadable" by its error text only, and
        // panics on a background thread when the storage fails: list the log first.
        if !location.join("_delta_log").is_log().await? {
            return Ok(None);
        }
        let log = log_store(location);
        let mut table = DeltaTable::new(Arc::clone(&log));
        if let Err(source) = table.load().await {
            // The library may hide an unreachable storage. The listing then fails with the real
            // cause.
            location.join("_delta_log").is_log().await?;
            return Err(open_failed(name, location, source));
        }
        let state = table
            .snapshot()
            .map_err(|source| open_failed(name, location, source))?
            .clone();
        Self::new(name.clone(), location.clone(), log, state)
            .await
            .map(Some)
    }

    /// An older version, or `None` when there is no table at `location`.
    ///
    /// # Errors
    /// When the log does not have the version, or the table dates its commits in a way that
    /// instants cannot be compared with.
    pub(crate) async fn open_as_of(
        name: &TableName,
        location: &Location,
        as_of: AsOf,
    ) -> Result<Option<Self>, Error> {
        let Some(newest) = Self::open(name, location).await? else {
            return Ok(None);
        };
        if let AsOf::Timestamp(_) = as_of
            && newest.has_in_commit_timestamps()
        {
            return Err(Error::UnsupportedTable {
                table: name.clone(),
                feature: "in-commit timestamps",
                remedy: "ask for a version by its number",
            });
        }
        let version = LogListing::read(location).await?.resolve(name, as_of)?;
        if version == newest.version {
            return Ok(Some(newest));
        }
        let state = DeltaTableState::try_new(newest.log.as_ref(), Some(version)).await;
        let state = state.map_err(|source| open_failed(name, location, source))?;
        Self::new(name.clone(), location.clone(), newest.log, state)
            .await
            .map(Some)
    }

    /// The version of the table at `url`, as another process names it that reads the same table.
    ///
    /// # Errors
    /// When `url` names no table, or its log does not have the version.
    pub async fn at_url(stores: &Stores, url: &Url, version: u64) -> Result<Self, Error> {
        let location = stores.locate(url)?;
        let name: TableName = location.path().filename().unwrap_or_default().parse()?;
        let snapshot = Self::open_as_of(&name, &location, AsOf::Version(version)).await?;
        snapshot.ok_or_else(|| Error::NoSuchTable {
            table: name,
            lake: location.parent().to_string(),
        })
    }

    fn has_in_commit_timestamps(&self) -> bool {
        let configuration = self.metadata().configuration();
        let enabled = configuration.get(IN_COMMIT_TIMESTAMPS);
        enabled.is_some_and(|enabled| enabled == "true")
    }

    async fn new(
        name: TableName,
        location: Location,
        log: LogStoreRef,
        state: DeltaTableState,
    ) -> Result<Self, Error> {
        features::refuse_unreadable(&name, &state)?;
        let partition_columns = state.metadata().partition_columns();
        let schema = readers_schema(&state.snapshot().arrow_schema(), partition_columns);
        let layout = Layout {
            location: &location,
            schema: &schema,
            partition_columns,
            may_be_wide: features::may_delete_rows(state.protocol()),
        };
        #[expect(deprecated, reason = "nothing else gives the tags of a file")]
        let files = state
            .log_data()
            .iter()
            .map(|file| SnapshotFile::from_log(file.add_action(), &layout).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|fault| Error::UnusableFile {
                table: name.clone(),
                fault,
            })?;
        // delta-rs has no time for a version that it has read from a checkpoint.
        let entry_ms = match state.version_timestamp(state.version()) {
            Some(written) => Some(written),
            None => written_ms(&log_entry(&location, state.version())).await?,
        };
        Ok(Self {
            name,
            location,
            log,
            version: state.version(),
            partition_columns: partition_columns.len(),
            opened: Arc::new(state),
            schema,
            files: Files::new(files),
            entry_ms,
            transactions: OnceCell::new(),
            earlier: None,
        })
    }

    /// The newest version of the table at this location: this snapshot when there is no new commit,
    /// `None` when the table was dropped. It may be a recreated table, see
    /// [`is_of_same_table`](Self::is_of_same_table).
    ///
    /// Without a new commit this looks up two log entries, the next one and that of this version:
    /// two calls of the NameNode.
    pub(crate) async fn refreshed(self: &Arc<Self>) -> Result<Option<Arc<Self>>, Error> {
        let newer = match replay_log(&self.location, self.version).await? {
            Some(delta) => Some(self.apply(delta).await),
            None => None,
        };
        // The replay may have read the log of a recreated table, whose files may not fit the schema
        // of this snapshot: an error counts only if our own entry is still the one that we read.
        if let Some(newer) = newer
            && self.is_same_log().await?
        {
            return newer.map(Some);
        }
        let reopened = Self::open(&self.name, &self.location).await?;
        Ok(reopened.map(Arc::new))
    }

    /// The version of the table after the commits of `delta`.
    async fn apply(self: &Arc<Self>, delta: LogDelta) -> Result<Arc<Self>, Error> {
        if delta.version == self.version {
            return Ok(Arc::clone(self));
        }
        let layout = Layout {
            location: &self.location,
            schema: &self.schema,
            partition_columns: self.metadata().partition_columns(),
            may_be_wide: features::may_delete_rows(self.opened.protocol()),
        };
        let added = delta.added.into_iter();
        let added = added
            .map(|file| SnapshotFile::from_log(file, &layout).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|fault| Error::UnusableFile {
                table: self.name.clone(),
                fault,
            })?;
        let entry_ms = written_ms(&log_entry(&self.location, delta.version)).await?;
        let recorded = self.transactions.get().cloned().flatten();
        Ok(Arc::new(Self {
            name: self.name.clone(),
            location: self.location.clone(),
            log: Arc::clone(&self.log),
            opened: Arc::clone(&self.opened),
            version: delta.version,
            schema: Arc::clone(&self.schema),
            partition_columns: self.partition_columns,
            files: self.files.after(added, &delta.removed),
            entry_ms,
            transactions: OnceCell::new(),
            earlier: recorded
                .map(|recorded| (self.version, recorded))
                .or_else(|| self.earlier.clone()),
        }))
    }

    /// Whether the log still has the entry of this version that the snapshot was read from.
    pub(crate) async fn is_same_log(&self) -> Result<bool, Error> {
        let present = written_ms(&log_entry(&self.location, self.version)).await?;
        Ok(present.is_some() && present == self.entry_ms)
    }

    /// Whether `other` is a version of the same table, and not of a recreated one.
    pub(crate) fn is_of_same_table(&self, other: &Self) -> bool {
        self.metadata().id() == other.metadata().id()
    }

    pub fn name(&self) -> &TableName {
        &self.name
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Version in the Delta log; 0 is the creation of the table.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When this version was committed, milliseconds since the epoch, if the log still has its
    /// entry.
    pub fn committed_ms(&self) -> Option<i64> {
        self.entry_ms
    }

    /// All columns in the order of scans: partition columns last.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// All columns in the order of their declaration.
    pub fn columns(&self) -> SchemaRef {
        let declared = self.opened.snapshot().arrow_schema();
        let position = |name: &str| declared.index_of(name).unwrap_or(usize::MAX);
        let mut fields = self.schema.fields().to_vec();
        fields.sort_by_key(|field| position(field.name()));
        Arc::new(Schema::new(fields))
    }

    /// Columns of a data file: all but the partition columns.
    pub fn file_schema(&self) -> SchemaRef {
        let columns = self.schema.fields().len() - self.partition_columns;
        Arc::new(Schema::new(self.schema.fields()[..columns].to_vec()))
    }

    /// Names of the columns that the table is partitioned by.
    pub fn partition_columns(&self) -> impl Iterator<Item = &str> {
        let first = self.schema.fields().len() - self.partition_columns;
        self.schema.fields()[first..]
            .iter()
            .map(|field| field.name().as_str())
    }

    pub fn description(&self) -> Option<&str> {
        self.metadata().description()
    }

    /// Number of data files, their total size in bytes, and their rows if the log has the counts.
    pub fn size(&self) -> (usize, u64, Option<u64>) {
        let bytes = self.files.iter().map(|file| file.size).sum();
        let rows = self.files.iter().map(|file| file.rows()).sum();
        (self.files.len(), bytes, rows)
    }

    /// Values of the first partition column, in order.
    pub fn partition_values(&self) -> Vec<ScalarValue> {
        let distinct: HashSet<_> = self
            .files
            .iter()
            .filter_map(|file| file.partition.first().cloned())
            .collect();
        let mut values: Vec<_> = distinct
            .into_iter()
            .filter(|value| !value.is_null())
            .collect();
        values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        values
    }

    /// The last version recorded for `app_id`, see [`AppTransaction`](super::AppTransaction).
    ///
    /// The first call reads the transactions of all application ids.
    pub async fn transaction(&self, app_id: &str) -> Result<Option<i64>, Error> {
        if let Some(all) = self.recorded().await? {
            return Ok(all.get(app_id).copied());
        }
        let state = self.state().await?;
        state
            .transaction_version(self.log.as_ref(), app_id)
            .await
            .map_err(|source| open_failed(&self.name, &self.location, source))
    }

    /// The last version recorded for every application id.
    ///
    /// # Errors
    /// When the storage fails, or the log has a form that only the library reads, one application
    /// id at a time.
    pub(crate) async fn transactions(&self) -> Result<&Transactions, Error> {
        let all = self.recorded().await?;
        all.ok_or_else(|| Error::ForeignLog {
            table: self.name.clone(),
            location: self.location.to_string(),
        })
    }

    async fn recorded(&self) -> Result<Option<&Transactions>, Error> {
        let read = || transactions::read(&self.location, self.version, self.earlier.as_ref());
        let all = self.transactions.get_or_try_init(read).await?;
        Ok(all.as_deref())
    }

    /// The data files of one partition; of the whole table when `key` has no column.
    pub fn data_files(&self, key: &PartitionKey) -> impl Iterator<Item = DataFile> {
        self.files
            .iter()
            .filter(|file| {
                key.0.iter().all(|(column, value)| {
                    let value = Some(value.as_str()).filter(|value| *value != NULL_PARTITION);
                    file.values.get(column).map(Option::as_deref) == Some(value)
                })
            })
            .map(|file| {
                let rows = file.rows().unwrap_or_default();
                DataFile::from_log(&file.relative, &file.values, file.size, rows)
            })
    }

    /// Paths of files that have left the table, which the log still lists for readers of older
    /// versions.
    pub(crate) async fn retired(&self) -> Result<Vec<Path>, Error> {
        let state = self.state().await?;
        state
            .all_tombstones(self.log.as_ref())
            .map_ok(|file| below(&self.location, &file.path()))
            .try_collect()
            .await
            .map_err(|source| open_failed(&self.name, &self.location, source))
    }

    /// Whether the file with this path below the table is part of this version.
    pub fn has_file(&self, relative: &str) -> bool {
        self.files.iter().any(|file| file.relative == relative)
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    pub(crate) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        self.opened.metadata()
    }

    /// What the library read when the table was opened. Its files and its version may be outdated.
    pub(crate) fn opened(&self) -> &DeltaTableState {
        &self.opened
    }

    /// The library's state at this version, read from the log unless the table was opened at it.
    async fn state(&self) -> Result<Arc<DeltaTableState>, Error> {
        if self.opened.version() == self.version {
            return Ok(Arc::clone(&self.opened));
        }
        DeltaTableState::try_new(self.log.as_ref(), Some(self.version))
            .await
            .map(Arc::new)
            .map_err(|source| open_failed(&self.name, &self.location, source))
    }
}

/// When the file at `location` was written, milliseconds since the epoch; `None` without a file.
async fn written_ms(location: &Location) -> Result<Option<i64>, Error> {
    let written = location.head().await?;
    Ok(written.map(|file| file.last_modified.timestamp_millis()))
}

/// The log of the table at `location`, on the guarded store.
pub(crate) fn log_store(location: &Location) -> LogStoreRef {
    let root: Arc<DynObjectStore> = Arc::new(LogText::new(Arc::clone(location.store())));
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(&root), location.path().clone()));
    let mut url = location.url().clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    default_logstore(prefixed, root, &url, &StorageConfig::default())
}

/// Either the storage failed, which may be transient, or the log is broken or needs features that
/// the library lacks.
fn open_failed(name: &TableName, location: &Location, source: DeltaTableError) -> Error {
    if Failure::find(&source).is_none() {
        return Error::UnreadableTable {
            table: name.clone(),
            location: location.to_string(),
            source,
        };
    }
    Error::OpenTable {
        table: name.clone(),
        location: location.to_string(),
        source,
    }
}

/// The schema that queries see: partition columns last, plain types in place of view types.
pub(crate) fn readers_schema(schema: &Schema, partition_columns: &[String]) -> SchemaRef {
    let (mut columns, mut partition) = (Vec::new(), Vec::new());
    for field in schema.fields() {
        let data_type = match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
            other => other.clone(),
        };
        let field = Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(data_type)
                .with_metadata(field.metadata().clone()),
        );
        if partition_columns.contains(field.name()) {
            partition.push(field);
        } else {
            columns.push(field);
        }
    }
    partition.sort_by_key(|field| {
        partition_columns
            .iter()
            .position(|name| name == field.name())
    });
    columns.append(&mut partition);
    Arc::new(Schema::new(columns))
}
