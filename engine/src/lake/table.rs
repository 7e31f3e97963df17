//! A table for writers: created from a schema, changed one commit at a time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::{CommitData, CommitProperties};
use deltalake_core::kernel::{Action, StructType, Transaction as Txn};
use deltalake_core::logstore::CommitOrBytes;
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use tracing::warn;
use uuid::Uuid;

use super::commit::{CommitActions, CommitOutcome};
use super::data_file::{DataFile, Encoded};
use super::evolve;
use super::features;
use super::location::Location;
use super::name::TableName;
use super::partition::PartitionKey;
use super::snapshot::{Snapshot, log_store};
use crate::error::Error;

/// What a table is created from.
#[derive(Clone, Debug)]
pub struct TableSchema {
    /// All columns, partition columns included.
    pub columns: SchemaRef,
    /// Names of the partition columns.
    pub partition: Vec<String>,
    /// What a row is, in one sentence.
    pub description: String,
}

/// A table as its writer sees it. A clone can store files as well, and stays at its version.
#[derive(Clone, Debug)]
pub struct Table {
    location: Location,
    snapshot: Arc<Snapshot>,
    /// The columns that stored files have: those of the table when it was opened.
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
        features::refuse_unwritable(
            table.name(),
            table.snapshot.opened(),
            &CommitActions::default(),
        )?;
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

    /// Uploads rows of one partition. They are part of the table once the file is committed.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn store(
        &self,
        partition: &PartitionKey,
        encoded: Encoded,
    ) -> Result<DataFile, Error> {
        encoded.store(&self.location, &partition.0).await
    }

    /// Commits `actions` as the version after the one that this table last loaded.
    ///
    /// A storage error may hide a commit that succeeded. After an error the log is therefore read
    /// again and searched for the actions; they are never sent twice.
    ///
    /// # Errors
    /// When the storage fails, the table was dropped or recreated, or its columns have changed.
    pub async fn commit(&mut self, actions: &CommitActions) -> Result<CommitOutcome, Error> {
        let seen = self.snapshot.version();
        if !self.snapshot.is_same_log().await? {
            // In the log of a recreated table our entry would follow a gap. In a log whose old
            // entries were cleaned up it would follow commits that the caller has not seen.
            self.reload().await?;
            if self.snapshot.version() > seen {
                return Ok(CommitOutcome::Conflict);
            }
        }
        self.refuse_other_columns(actions)?;
        features::refuse_unwritable(self.name(), self.snapshot.opened(), actions)?;
        let failure = match self.try_commit(actions).await {
            Ok(version) => {
                self.checkpoint_if_due(version).await;
                self.reload().await?;
                return Ok(CommitOutcome::Committed(version));
            }
            Err(failure) => failure,
        };
        self.reload().await?;
        if self.contains(actions).await? {
            // The commit was tried as this version only.
            return Ok(CommitOutcome::Committed(seen + 1));
        }
        if self.snapshot.version() > seen {
            self.refuse_other_columns(actions)?;
            return Ok(CommitOutcome::Conflict);
        }
        Err(Error::Commit {
            table: self.name().clone(),
            location: self.location.to_string(),
            source: failure,
        })
    }

    /// Refuses files that were stored for other columns than the table has now: their rows would
    /// silently lack the values that a newer declaration selects.
    fn refuse_other_columns(&self, actions: &CommitActions) -> Result<(), Error> {
        if actions.add.is_empty() || self.snapshot.schema().fields() == self.columns.fields() {
            return Ok(());
        }
        Err(Error::ColumnsChanged {
            table: self.name().clone(),
            version: self.snapshot.version(),
        })
    }

    async fn try_commit(&self, actions: &CommitActions) -> Result<u64, DeltaTableError> {
        let mut entry: Vec<Action> = Vec::new();
        for partition in &actions.replace {
            let files = self.snapshot.data_files(partition);
            entry.extend(files.map(|file| Action::Remove(file.removal())));
        }
        let removed = actions.remove.iter();
        entry.extend(removed.map(|file| Action::Remove(file.removal())));
        if let Some(columns) = &actions.columns {
            entry.push(evolve::metadata(&self.snapshot, columns)?);
        }
        entry.extend(actions.add.iter().map(|file| Action::Add(file.add.clone())));
        let transactions = actions
            .transactions
            .iter()
            .map(|transaction| Txn::new(&transaction.app_id, transaction.version))
            .collect();
        let operation = DeltaOperation::Write {
            mode: if actions.replace.is_empty() && actions.remove.is_empty() {
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
        let data = CommitData::new(entry, operation, HashMap::new(), transactions);
        let bytes = CommitOrBytes::LogBytes(data.get_bytes()?);
        let version = self.snapshot.version() + 1;
        // Tried once: only the caller can decide whether the actions still apply to a newer
        // version.
        let log = self.snapshot.log();
        log.write_commit_entry(version, bytes, Uuid::new_v4())
            .await?;
        Ok(version)
    }

    /// Writes a checkpoint every `delta.checkpointInterval` commits, and deletes log entries before
    /// it that have expired.
    ///
    /// A failure is only logged: a checkpoint repeats the log, and the next one makes up for it.
    async fn checkpoint_if_due(&self, version: u64) {
        let properties = self.snapshot.opened().table_config();
        if !(version + 1).is_multiple_of(properties.checkpoint_interval().get()) {
            return;
        }
        let checkpoint = async {
            let mut table = DeltaTable::new(Arc::clone(self.snapshot.log()));
            table.load_version(version).await?;
            checkpoints::create_checkpoint(&table, None).await?;
            if properties.enable_expired_log_cleanup() {
                checkpoints::cleanup_metadata(&table, None).await?;
            }
            Ok::<_, DeltaTableError>(())
        };
        if let Err(error) = checkpoint.await {
            warn!(table = %self.name(), version, %error, "could not write a checkpoint, which the next one makes up for");
        }
    }

    /// Whether the loaded version has `actions`, by their first file or by all their transactions.
    async fn contains(&self, actions: &CommitActions) -> Result<bool, Error> {
        if let Some(first) = actions.add.first() {
            return Ok(self.snapshot.has_file(first.path()));
        }
        for transaction in &actions.transactions {
            let recorded = self.snapshot.transaction(&transaction.app_id).await?;
            if recorded != Some(transaction.version) {
                return Ok(false);
            }
        }
        Ok(!actions.transactions.is_empty())
    }

    /// Loads the newest version.
    ///
    /// # Errors
    /// When the storage fails, or the table was dropped or recreated.
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
    // No retry: after a concurrent creation the library would commit ours as the next version, and
    // give a table that other processes have open another identity.
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
    // Another process may have created the table first, or a storage error may hide our own
    // creation.
    match (Snapshot::open(name, location).await?, created) {
        (Some(snapshot), _) => Ok(snapshot),
        (None, Err(source)) => Err(failed(source)),
        (None, Ok(_)) => Err(failed(DeltaTableError::NotATable(location.to_string()))),
    }
}
