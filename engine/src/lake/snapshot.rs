//! One version of a table: its schema, its data files and what the log says of them.

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

use super::data_file::DataFile;
use super::features;
use super::files::Files;
use super::follow::Followed;
use super::location::Location;
use super::log_text::LogText;
use super::name::TableName;
use super::snapshot_file::{Layout, SnapshotFile};
use super::store::Failure;
use super::table::{NULL_PARTITION, PartitionKey, below};
use super::transactions::{self, Transactions};
use crate::error::Error;

/// One version of a table. Immutable: a newer version is another snapshot.
#[derive(Debug)]
pub struct Snapshot {
    name: TableName,
    location: Location,
    log: LogStoreRef,
    /// What the library read when the table was opened, at this version or an earlier one. Protocol, metadata and properties are
    /// still those; what became of the files since is in `files`.
    opened: Arc<DeltaTableState>,
    version: u64,
    /// All columns, those of the partition last, as every reader sees them.
    schema: SchemaRef,
    partition_columns: usize,
    files: Files,
    /// When the log entry of this version was written, milliseconds since the epoch; `None` when the log begins later.
    /// An entry never changes, so one of another time is that of another table under the same name.
    entry_ms: Option<i64>,
    transactions: OnceCell<Option<Arc<Transactions>>>,
    /// What was recorded up to an earlier version, if anybody asked then.
    earlier: Option<(u64, Arc<Transactions>)>,
}

impl Snapshot {
    /// The newest version, or `None` when there is no table at `location`.
    pub(super) async fn open(name: &TableName, location: &Location) -> Result<Option<Self>, Error> {
        // The log reader tells "no log" and "log unreadable" apart by text only, and panics on a thread
        // of its own when the storage fails: ask first.
        if !location.join("_delta_log").is_log().await? {
            return Ok(None);
        }
        let log = log_store(location);
        let mut table = DeltaTable::new(Arc::clone(&log));
        if let Err(source) = table.load().await {
            // A storage that is away answers nothing else either, should the library have hidden it.
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
        // What the state was read from says it best; it says nothing when a checkpoint replaced the entry.
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

    /// The newest version of the table that is here now: this snapshot when nothing happened, `None` when there is
    /// no table any more. It may be another table, see [`is_of_same_table`](Self::is_of_same_table).
    ///
    /// Asks for two log entries, the next and that of this version: two calls of the NameNode.
    pub(super) async fn refreshed(self: &Arc<Self>) -> Result<Option<Arc<Self>>, Error> {
        let newer = match self.follow().await? {
            Some(change) => Some(self.changed(change).await?),
            None => None,
        };
        // Asked after, since the log of another table is followed without a word.
        if let Some(newer) = newer
            && self.is_in_place().await?
        {
            return Ok(Some(newer));
        }
        let anew = Self::open(&self.name, &self.location).await?;
        Ok(anew.map(Arc::new))
    }

    /// The version that the table has after `change`.
    async fn changed(self: &Arc<Self>, change: Followed) -> Result<Arc<Self>, Error> {
        if change.version == self.version {
            return Ok(Arc::clone(self));
        }
        let layout = Layout {
            location: &self.location,
            schema: &self.schema,
            partition_columns: self.metadata().partition_columns(),
            may_be_wide: features::may_delete_rows(self.opened.protocol()),
        };
        let added = change.added.into_iter();
        let added = added
            .map(|file| SnapshotFile::from_log(file, &layout).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|fault| Error::UnusableFile {
                table: self.name.clone(),
                fault,
            })?;
        let entry_ms = written_ms(&log_entry(&self.location, change.version)).await?;
        let recorded = self.transactions.get().cloned().flatten();
        Ok(Arc::new(Self {
            name: self.name.clone(),
            location: self.location.clone(),
            log: Arc::clone(&self.log),
            opened: Arc::clone(&self.opened),
            version: change.version,
            schema: Arc::clone(&self.schema),
            partition_columns: self.partition_columns,
            files: self.files.after(added, &change.gone),
            entry_ms,
            transactions: OnceCell::new(),
            earlier: recorded
                .map(|recorded| (self.version, recorded))
                .or_else(|| self.earlier.clone()),
        }))
    }

    /// Whether the log that this snapshot was read from is still there, up to this version.
    pub(super) async fn is_in_place(&self) -> Result<bool, Error> {
        let present = written_ms(&log_entry(&self.location, self.version)).await?;
        Ok(present.is_some() && present == self.entry_ms)
    }

    /// Whether `other` is a version of the same table, and not of one that was created anew.
    pub(super) fn is_of_same_table(&self, other: &Self) -> bool {
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

    /// When this version was committed, milliseconds since the epoch, if the log says so.
    pub fn committed_ms(&self) -> Option<i64> {
        self.entry_ms
    }

    /// All columns in the order that scans have them: those of the partition last.
    pub(super) fn schema(&self) -> &SchemaRef {
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

    /// Columns of a data file: all but those of the partition.
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

    /// Number of data files, their bytes, and their rows where the log says how many.
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

    /// What was last recorded for `application`, see [`Transaction`](super::Transaction).
    ///
    /// The first call reads what was recorded for all of them.
    pub async fn transaction(&self, application: &str) -> Result<Option<i64>, Error> {
        if let Some(all) = self.recorded().await? {
            return Ok(all.get(application).copied());
        }
        let state = self.state().await?;
        state
            .transaction_version(self.log.as_ref(), application)
            .await
            .map_err(|source| open_failed(&self.name, &self.location, source))
    }

    /// What was last recorded under every name.
    ///
    /// # Errors
    /// Also when the log has another form than ours; then names can only be asked for one by one.
    pub(super) async fn transactions(&self) -> Result<&Transactions, Error> {
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

    /// The files of one partition; of the whole table when `key` names no column.
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

    /// Files that left the table and are kept for older versions of it.
    pub(super) async fn retired(&self) -> Result<Vec<Path>, Error> {
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

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    pub(super) fn metadata(&self) -> &Metadata {
        self.opened.metadata()
    }

    /// What the library knows of the table, but for its files and its version, which may be later.
    pub(super) fn opened(&self) -> &DeltaTableState {
        &self.opened
    }

    /// What the library knows of the log at this version. It reads it, unless it did so before.
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

/// The place of the log entry of `version`.
pub(super) fn log_entry(table: &Location, version: u64) -> Location {
    let name = format!("{version:020}.json");
    table.join("_delta_log").join(&name)
}

/// When the file at `place` was written, if there is one.
async fn written_ms(place: &Location) -> Result<Option<i64>, Error> {
    let written = place.head().await?;
    Ok(written.map(|file| file.last_modified.timestamp_millis()))
}

/// The log of the table at `location`, on the guarded store.
pub(super) fn log_store(location: &Location) -> LogStoreRef {
    let root: Arc<DynObjectStore> = Arc::new(LogText::new(Arc::clone(location.store())));
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(&root), location.path().clone()));
    let mut url = location.url().clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    default_logstore(prefixed, root, &url, &StorageConfig::default())
}

/// The storage may have failed, which passes; else the log is broken, or asks for more than the library knows.
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

/// The schema that queries see: partition columns last, no view types, nothing but the type.
pub(super) fn readers_schema(schema: &Schema, partition_columns: &[String]) -> SchemaRef {
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
