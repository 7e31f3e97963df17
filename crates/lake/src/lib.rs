//! The lake: Delta tables on HDFS or in a local directory.
//!
//! Only this crate knows paths and layout of tables. A table is read as a [`Snapshot`], and changed
//! through a [`Table`], one commit at a time.
//!
//! Read it from the bottom up: `store` opens storage, `data_file` writes Parquet, `snapshot` is one
//! version of a table, `commit` is what changes it, `table` changes it.

mod columns;
mod commit;
mod data_file;
mod error;
mod metrics;
mod name;
mod partition;
mod readiness;
mod snapshot;
mod store;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::execution::runtime_env::RuntimeEnv;
use futures::{StreamExt as _, TryStreamExt as _};
use service::error_chain;
use tracing::warn;
use url::Url;

pub use crate::columns::misnamed;
pub use crate::commit::{AppTransaction, CommitActions, CommitOutcome};
pub use crate::data_file::{DataFile, Encoded, FOOTER_BYTES, encode};
pub use crate::error::Error;
pub use crate::metrics::register;
pub use crate::name::{DEAD_LETTERS, NotATableName, TableName};
pub use crate::partition::{PartitionKey, split};
pub use crate::readiness::storage_ready;
pub use crate::snapshot::{
    AsOf, Files, History, IDENTITY, PositionNames, Snapshot, SnapshotFile, SourceProgress,
    TopicNames,
};
pub use crate::store::{Counters, Failure, Location, RemovedFiles, StoreOptions, Stores};
pub use crate::table::{FencingToken, Rows, Table, TableSchema};

/// How many tables a listing of the lake opens concurrently.
const LIST_CONCURRENCY: usize = 8;

/// All tables below one URL.
#[derive(Debug)]
pub struct Lake {
    root: Location,
    stores: Arc<Stores>,
    /// The newest loaded snapshot of each table, from which newer ones are made by log replay.
    snapshots: Mutex<HashMap<TableName, Arc<Snapshot>>>,
    /// Directories that listings leave out, each with the reason of its last warning.
    left_out: Mutex<HashMap<String, String>>,
}

impl Lake {
    /// The lake at `url`. Opens no connection.
    pub fn new(url: &Url, stores: Arc<Stores>) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            root: stores.locate(url)?,
            stores,
            snapshots: Mutex::default(),
            left_out: Mutex::default(),
        }))
    }

    pub fn root(&self) -> &Location {
        &self.root
    }

    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// Registers the store of the lake with a DataFusion session, for scans of its files.
    pub fn register(&self, runtime: &RuntimeEnv) {
        runtime.register_object_store(self.root.url(), Arc::clone(self.root.store()));
    }

    /// Names of the tables in the lake, in order, unreadable ones included.
    pub async fn tables(&self) -> Result<Vec<TableName>, Error> {
        let names = self.logs().await?.into_iter();
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// The newest versions of all readable tables, in the order of their names.
    ///
    /// An unreadable table is left out with a warning. A query that names it fails with the reason.
    pub async fn readable(&self) -> Result<Vec<Arc<Snapshot>>, Error> {
        let found = futures::stream::iter(self.logs().await?)
            .map(|directory| async move {
                let opened = match directory.parse() {
                    Ok(name) => self.snapshot(&name).await,
                    Err(_) => Err(self.misnamed(&directory)),
                };
                match opened {
                    Err(error) if is_of_one_table(&error) => {
                        self.leave_out(&directory, Some(error));
                        Ok(None)
                    }
                    opened => {
                        self.leave_out(&directory, None);
                        opened
                    }
                }
            })
            .buffered(LIST_CONCURRENCY)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The error for `name` when a directory of the lake resembles it, but has capitals or
    /// characters that the name of a table cannot have.
    pub async fn meant_directory(&self, name: &str) -> Result<Option<Error>, Error> {
        let as_table = |name: &str| name.to_lowercase().replace(['-', ' ', '.'], "_");
        let meant = as_table(name);
        let mut logs = self.logs().await?.into_iter();
        let found = logs.find(|directory| {
            directory.parse::<TableName>().is_err() && as_table(directory) == meant
        });
        Ok(found.map(|directory| self.misnamed(&directory)))
    }

    fn misnamed(&self, directory: &str) -> Error {
        Error::DirectoryName {
            directory: directory.to_owned(),
            lake: self.root.to_string(),
        }
    }

    /// Warns that `directory` is left out of listings, once for each reason.
    fn leave_out(&self, directory: &str, reason: Option<Error>) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reason) = reason else {
            left_out.remove(directory);
            return;
        };
        let reason = error_chain(&reason);
        let previous = left_out.insert(directory.to_owned(), reason.clone());
        if previous.as_ref() != Some(&reason) {
            warn!(table = directory, reason, "left out of the list of tables");
        }
    }

    /// Names of the directories that have the log of a table, in order.
    async fn logs(&self) -> Result<Vec<String>, Error> {
        let names = self.root.directories().await?.into_iter();
        // Hidden directories: some tools keep logs of their own there.
        let names = names.filter(|name| !name.starts_with(['.', '_']));
        let logs = futures::stream::iter(names)
            .map(|name| async move {
                let log = self.root.join(&name).join("_delta_log");
                let is_table = log.is_log().await?;
                Ok::<_, Error>(is_table.then_some(name))
            })
            .buffered(LIST_CONCURRENCY)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(logs.into_iter().flatten().collect())
    }

    /// The newest version of a table, or `None` when there is no such table.
    ///
    /// Every call reads the log, so the next query sees each commit, and each recreated table.
    pub async fn snapshot(&self, name: &TableName) -> Result<Option<Arc<Snapshot>>, Error> {
        let known = self.lock().get(name).cloned();
        let newest = match known {
            Some(known) => known.refreshed().await?,
            None => Snapshot::open(name, &self.location(name))
                .await?
                .map(Arc::new),
        };
        let mut snapshots = self.lock();
        match &newest {
            Some(newest) => {
                snapshots.insert(name.clone(), Arc::clone(newest));
            }
            None => {
                snapshots.remove(name);
            }
        }
        Ok(newest)
    }

    /// An older version of a table, or `None` when there is no such table.
    ///
    /// The version has the columns that the table had then. Its data files may have been deleted
    /// since, in which case a scan of it fails.
    ///
    /// # Errors
    /// When the log does not have the version (any more).
    pub async fn snapshot_at(
        &self,
        name: &TableName,
        as_of: AsOf,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let snapshot = Snapshot::open_as_of(name, &self.location(name), as_of).await?;
        Ok(snapshot.map(Arc::new))
    }

    /// A table to write to, created from `schema` when it is absent. Columns that the table lacks
    /// are added.
    pub async fn open_or_create(
        self: &Arc<Self>,
        name: &TableName,
        schema: &TableSchema,
    ) -> Result<Table, Error> {
        Table::open_or_create(name.clone(), self.location(name), schema).await
    }

    /// A table to write to, or `None` when there is no such table.
    pub async fn open(&self, name: &TableName) -> Result<Option<Table>, Error> {
        Table::open(name, self.location(name)).await
    }

    fn location(&self, name: &TableName) -> Location {
        self.root.join(name.as_str())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TableName, Arc<Snapshot>>> {
        self.snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `error` concerns one table only.
fn is_of_one_table(error: &Error) -> bool {
    match error {
        Error::UnsupportedTable { .. }
        | Error::UnreadableTable { .. }
        | Error::UnusableFile { .. }
        | Error::DirectoryName { .. }
        | Error::Schema { .. } => true,
        error => matches!(Failure::find(error), Some(Failure::Denied { .. })),
    }
}
