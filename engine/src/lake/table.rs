//! A table to write to: created from its schema, changed one commit at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::{SortColumn, cast, lexsort_to_indices, partition, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::{CommitData, CommitProperties};
use deltalake_core::kernel::{Action, StructType, Transaction as Txn};
use deltalake_core::logstore::CommitOrBytes;
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use object_store::path::{Path, PathPart};
use tracing::warn;
use uuid::Uuid;

use super::data_file::{DataFile, Encoded};
use super::evolve;
use super::features;
use super::location::Location;
use super::name::TableName;
use super::snapshot::{Snapshot, log_store};
use crate::error::Error;

/// Directory name of a null partition value, as Hive and Delta have it.
pub(super) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// More runs of equal partition values than this in one batch, and it is sorted first.
const RUNS_MAX: usize = 64;

/// What a table is created from.
#[derive(Clone, Debug)]
pub struct TableSchema {
    /// All columns, those of the partition included.
    pub columns: SchemaRef,
    /// Names of the partition columns.
    pub partition: Vec<String>,
    /// One sentence: what a row is.
    pub description: String,
}

/// A number recorded under a name in the same commit as data: how far a source was read, or which
/// input an output was computed from. The last one of each name is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub application: String,
    pub version: i64,
}

impl Transaction {
    /// A mark: a number that nobody else records under `application`. Who remembers the last one sees when somebody
    /// else's came in between.
    pub fn unique(application: &str) -> Self {
        let (high, _) = Uuid::new_v4().as_u64_pair();
        Self {
            application: application.to_owned(),
            version: i64::try_from(high >> 1).unwrap_or_default(),
        }
    }
}

/// What one commit does, all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Stored files that become part of the table.
    pub add: Vec<DataFile>,
    /// Partitions whose present files all leave the table.
    pub replace: Vec<PartitionKey>,
    /// Files of the present version that leave the table.
    pub remove: Vec<DataFile>,
    /// All columns that the table has from now on, if it is given any.
    pub columns: Option<SchemaRef>,
    pub transactions: Vec<Transaction>,
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change is this version of the table.
    Committed(u64),
    /// Somebody else's commit came first and the change is not in the table; the table has been
    /// reloaded, so that the caller can decide.
    Superseded,
}

/// A table as its writer sees it. A clone stores files for it as well, and stays at the version it was cloned at.
#[derive(Clone, Debug)]
pub struct Table {
    location: Location,
    snapshot: Arc<Snapshot>,
    /// Those that files are stored with: the table's when it was opened.
    columns: SchemaRef,
}

impl Table {
    pub(super) async fn open_or_create(
        name: TableName,
        location: Location,
        schema: &TableSchema,
    ) -> Result<Self, Error> {
        let snapshot = match Snapshot::open(&name, &location).await? {
            Some(snapshot) => snapshot,
            None => create(&name, &location, schema).await?,
        };
        let mut table = Self::at(snapshot, location);
        features::refuse_unwritable(table.name(), table.snapshot.opened(), &Change::default())?;
        table.evolve(schema).await?;
        table.columns = Arc::clone(table.snapshot.schema());
        Ok(table)
    }

    pub(super) async fn open(name: &TableName, location: Location) -> Result<Option<Self>, Error> {
        let snapshot = Snapshot::open(name, &location).await?;
        Ok(snapshot.map(|snapshot| Self::at(snapshot, location)))
    }

    fn at(snapshot: Snapshot, location: Location) -> Self {
        Self {
            location,
            columns: Arc::clone(snapshot.schema()),
            snapshot: Arc::new(snapshot),
        }
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    pub fn name(&self) -> &TableName {
        self.snapshot.name()
    }

    /// Stores rows of one partition; they are part of the table once the file is committed.
    pub async fn store(
        &self,
        partition: &PartitionKey,
        encoded: Encoded,
    ) -> Result<DataFile, Error> {
        encoded.store(&self.location, &partition.0).await
    }

    /// Commits `change` onto the version this table was last seen at.
    ///
    /// An error of the storage may hide a commit that happened, so after any error the log is read
    /// again and the change looked for there; it is never sent twice.
    ///
    /// # Errors
    /// When the storage fails, the table is not the one any more that was opened, or its columns are not.
    pub async fn commit(&mut self, change: &Change) -> Result<Outcome, Error> {
        let seen = self.snapshot.version();
        if !self.snapshot.is_in_place().await? {
            // In the log of a newer table of this name our entry would stand behind a gap. In a log that
            // was only cut off behind a checkpoint it would come after commits that nobody has judged.
            self.reload().await?;
            if self.snapshot.version() > seen {
                return Ok(Outcome::Superseded);
            }
        }
        self.refuse_other_columns(change)?;
        features::refuse_unwritable(self.name(), self.snapshot.opened(), change)?;
        let failure = match self.try_commit(change).await {
            Ok(version) => {
                self.tidy(version).await;
                self.reload().await?;
                return Ok(Outcome::Committed(version));
            }
            Err(failure) => failure,
        };
        self.reload().await?;
        if self.contains(change).await? {
            // It cannot be another version: a commit is tried on the one that follows only.
            return Ok(Outcome::Committed(seen + 1));
        }
        if self.snapshot.version() > seen {
            self.refuse_other_columns(change)?;
            return Ok(Outcome::Superseded);
        }
        Err(Error::Commit {
            table: self.name().clone(),
            location: self.location.to_string(),
            source: failure,
        })
    }

    /// Fails when the files of `change` were stored for other columns than the table has by now: their rows would lack
    /// what a newer declaration selects, for ever and unseen.
    fn refuse_other_columns(&self, change: &Change) -> Result<(), Error> {
        if change.add.is_empty() || self.snapshot.schema().fields() == self.columns.fields() {
            return Ok(());
        }
        Err(Error::ColumnsChanged {
            table: self.name().clone(),
            version: self.snapshot.version(),
        })
    }

    async fn try_commit(&self, change: &Change) -> Result<u64, DeltaTableError> {
        let mut actions: Vec<Action> = Vec::new();
        for partition in &change.replace {
            let files = self.snapshot.data_files(partition);
            actions.extend(files.map(|file| Action::Remove(file.removal())));
        }
        let removed = change.remove.iter();
        actions.extend(removed.map(|file| Action::Remove(file.removal())));
        if let Some(columns) = &change.columns {
            actions.push(evolve::metadata(&self.snapshot, columns)?);
        }
        actions.extend(change.add.iter().map(|file| Action::Add(file.add.clone())));
        let transactions = change
            .transactions
            .iter()
            .map(|transaction| Txn::new(&transaction.application, transaction.version))
            .collect();
        let operation = DeltaOperation::Write {
            mode: if change.replace.is_empty() && change.remove.is_empty() {
                SaveMode::Append
            } else {
                SaveMode::Overwrite
            },
            partition_by: Some(
                self.snapshot
                    .partition_columns()
                    .map(str::to_owned)
                    .collect(),
            ),
            predicate: None,
        };
        let data = CommitData::new(actions, operation, HashMap::new(), transactions);
        let entry = CommitOrBytes::LogBytes(data.get_bytes()?);
        let version = self.snapshot.version() + 1;
        // Once: whether a newer version is harmless is the caller's to decide.
        let log = self.snapshot.log();
        log.write_commit_entry(version, entry, Uuid::new_v4())
            .await?;
        Ok(version)
    }

    /// Writes a checkpoint when one is due, and removes what is old enough behind it.
    ///
    /// When that fails the next one is as good: nothing is in a checkpoint that is not in the log.
    async fn tidy(&self, version: u64) {
        let properties = self.snapshot.opened().table_config();
        if !(version + 1).is_multiple_of(properties.checkpoint_interval().get()) {
            return;
        }
        let tidy = async {
            let mut table = DeltaTable::new(Arc::clone(self.snapshot.log()));
            table.load_version(version).await?;
            checkpoints::create_checkpoint(&table, None).await?;
            if properties.enable_expired_log_cleanup() {
                checkpoints::cleanup_metadata(&table, None).await?;
            }
            Ok::<_, DeltaTableError>(())
        };
        if let Err(error) = tidy.await {
            warn!(table = %self.name(), version, %error, "could not write a checkpoint, which the next one makes up for");
        }
    }

    async fn contains(&self, change: &Change) -> Result<bool, Error> {
        if let Some(first) = change.add.first() {
            return Ok(self.snapshot.has_file(first.path()));
        }
        for transaction in &change.transactions {
            let recorded = self.snapshot.transaction(&transaction.application).await?;
            if recorded != Some(transaction.version) {
                return Ok(false);
            }
        }
        Ok(!change.transactions.is_empty())
    }

    pub(super) async fn reload(&mut self) -> Result<(), Error> {
        match self.snapshot.refreshed().await? {
            Some(newest) if newest.is_of_same_table(&self.snapshot) => {
                self.snapshot = newest;
                Ok(())
            }
            _ => Err(Error::TableReplaced {
                table: self.name().clone(),
                location: self.location.to_string(),
            }),
        }
    }

    pub(super) fn location(&self) -> &Location {
        &self.location
    }
}

/// The partition that rows belong to: column names with values as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey(pub(super) Vec<(String, String)>);

impl PartitionKey {
    /// The partition where `column` has `value`; without a column, the whole table.
    pub fn of(column: Option<&str>, value: Option<&ScalarValue>) -> Self {
        let text = |value: &ScalarValue| {
            if value.is_null() {
                NULL_PARTITION.to_owned()
            } else {
                value.to_string()
            }
        };
        let pair = column.zip(value);
        Self(
            pair.map(|(column, value)| (column.to_owned(), text(value)))
                .into_iter()
                .collect(),
        )
    }

    /// The value of the first partition column.
    pub fn first(&self) -> &str {
        self.0.first().map_or("", |(_, value)| value)
    }
}

/// Splits `batches` by their partition columns, which leave the batches.
///
/// Rows keep their order within a partition.
pub fn split(
    batches: &[RecordBatch],
    partition_columns: &[String],
) -> Result<BTreeMap<PartitionKey, Vec<RecordBatch>>, ArrowError> {
    let mut parts: BTreeMap<PartitionKey, Vec<RecordBatch>> = BTreeMap::new();
    if partition_columns.is_empty() {
        parts.insert(PartitionKey(Vec::new()), batches.to_vec());
        return Ok(parts);
    }
    for batch in batches {
        split_batch(batch, partition_columns, &mut parts)?;
    }
    Ok(parts)
}

fn split_batch(
    batch: &RecordBatch,
    partition_columns: &[String],
    parts: &mut BTreeMap<PartitionKey, Vec<RecordBatch>>,
) -> Result<(), ArrowError> {
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let schema = batch.schema();
    let indices: Vec<usize> = partition_columns
        .iter()
        .map(|name| schema.index_of(name))
        .collect::<Result<_, _>>()?;
    let columns = |batch: &RecordBatch| -> Vec<_> {
        indices
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect()
    };
    let mut batch = batch.clone();
    let mut runs = partition(&columns(&batch))?.ranges();
    if runs.len() > RUNS_MAX {
        let keys: Vec<_> = columns(&batch)
            .into_iter()
            .map(|values| SortColumn {
                values,
                options: None,
            })
            .collect();
        batch = take_record_batch(&batch, &lexsort_to_indices(&keys, None)?)?;
        runs = partition(&columns(&batch))?.ranges();
    }
    let texts = columns(&batch)
        .iter()
        .map(|column| cast(column, &DataType::Utf8))
        .collect::<Result<Vec<_>, _>>()?;
    let kept: Vec<usize> = (0..schema.fields().len())
        .filter(|index| !indices.contains(index))
        .collect();
    let rest = batch.project(&kept)?;
    for run in runs {
        let values = texts.iter().map(|text| {
            let text = text.as_string::<i32>();
            if text.is_null(run.start) {
                NULL_PARTITION.to_owned()
            } else {
                text.value(run.start).to_owned()
            }
        });
        let key = PartitionKey(partition_columns.iter().cloned().zip(values).collect());
        let rows = rest.slice(run.start, run.end - run.start);
        parts.entry(key).or_default().push(rows);
    }
    Ok(())
}

async fn create(
    name: &TableName,
    location: &Location,
    schema: &TableSchema,
) -> Result<Snapshot, Error> {
    let failed = |source: DeltaTableError| Error::CreateTable {
        table: name.clone(),
        location: location.to_string(),
        source,
    };
    let columns: StructType = schema
        .columns
        .as_ref()
        .try_into_kernel()
        .map_err(|source: ArrowError| failed(source.into()))?;
    let configuration = HashMap::from([(
        // All columns: queries prune by any of them.
        "delta.dataSkippingNumIndexedCols".to_owned(),
        Some("-1".to_owned()),
    )]);
    // No second try: where somebody else's creation came first, the library would make ours the commit that follows it,
    // and give a table that others have open another identity.
    let once = CommitProperties::default().with_max_retries(0);
    let created = CreateBuilder::new()
        .with_log_store(log_store(location))
        .with_table_name(name.as_str())
        .with_comment(schema.description.as_str())
        .with_columns(columns.fields().cloned())
        .with_partition_columns(schema.partition.iter().map(String::as_str))
        .with_configuration(configuration)
        .with_save_mode(SaveMode::ErrorIfExists)
        .with_commit_properties(once)
        .await;
    // Another process may have created it first, or our own creation may only seem to have failed.
    match (Snapshot::open(name, location).await?, created) {
        (Some(snapshot), _) => Ok(snapshot),
        (None, Err(source)) => Err(failed(source)),
        (None, Ok(_)) => Err(failed(DeltaTableError::NotATable(location.to_string()))),
    }
}

/// `value` as a directory name: what HDFS, URLs and Hive would misread becomes `%XX`.
pub(super) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b' ') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The path of `relative`, which is escaped already, below `table`.
pub(super) fn below(table: &Location, relative: &str) -> Path {
    let parts = relative
        .split('/')
        .map(|part| PathPart::parse(part).unwrap_or_else(|_| PathPart::from(part)));
    // As parts: a text would be escaped once more, and lie where the log does not say.
    table.path().parts().chain(parts).collect()
}
