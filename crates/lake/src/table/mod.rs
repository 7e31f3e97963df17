//! A table for writers, changed one commit at a time.

mod create;
mod evolve;
mod orphan_files;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::CommitData;
use deltalake_core::kernel::{Action, MetadataExt as _, StructType, Transaction as Txn};
use deltalake_core::logstore::CommitOrBytes;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use tracing::warn;
use uuid::Uuid;

pub use self::orphan_files::FencingToken;
pub use self::rows::Rows;
use crate::commit::{CommitActions, CommitOutcome};
use crate::data_file::{DataFile, Encoded};
use crate::error::Error;
use crate::name::TableName;
use crate::partition::PartitionKey;
use crate::snapshot::{Snapshot, features};
use crate::store::Location;

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
    pub(crate) async fn open(name: &TableName, location: Location) -> Result<Option<Self>, Error> {
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
            entry.push(metadata(&self.snapshot, columns)?);
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
    pub(crate) async fn reload(&mut self) -> Result<(), Error> {
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

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }
}

/// The action that gives the table of `snapshot` these columns.
fn metadata(snapshot: &Snapshot, columns: &SchemaRef) -> Result<Action, DeltaTableError> {
    let columns: StructType = columns
        .as_ref()
        .try_into_kernel()
        .map_err(|source: ArrowError| DeltaTableError::from(source))?;
    let metadata = snapshot.metadata().clone();
    Ok(Action::Metadata(metadata.with_schema(&columns)?))
}
