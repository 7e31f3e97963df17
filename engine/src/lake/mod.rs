//! The lake: Delta tables on HDFS or in a local directory.
//!
//! Only this module knows paths and layout. A table is read through a [`Snapshot`] and its
//! [`LakeTable`] provider, and changed through a [`Table`], whose every change is one commit.

mod data_file;
mod evolve;
mod files;
mod follow;
mod history;
mod location;
mod name;
mod positions;
mod provider;
mod rows;
mod snapshot;
mod snapshot_file;
mod statistics;
mod store;
mod sweep;
mod table;
mod temporary;
mod transactions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::execution::runtime_env::RuntimeEnv;
use futures::{StreamExt as _, TryStreamExt as _};
use url::Url;

pub use self::data_file::{DataFile, Encoded, encode};
pub(crate) use self::history::History;
pub use self::location::Location;
pub use self::name::TableName;
pub(crate) use self::positions::Reached;
pub use self::positions::{IDENTITY, PositionNames, TopicNames};
pub use self::provider::{InputFile, LakeTable};
pub use self::rows::Rows;
pub use self::snapshot::Snapshot;
pub use self::store::{Counters, Failure, StoreOptions, Stores};
pub use self::sweep::Swept;
pub use self::table::{
    Change, Outcome, PartitionKey, SWEEP, Table, TableSchema, Transaction, split,
};
use crate::error::Error;

/// How many tables are looked at side by side when the lake is listed.
const LIST_CONCURRENCY: usize = 8;

/// All tables below one URL.
#[derive(Debug)]
pub struct Lake {
    root: Location,
    stores: Arc<Stores>,
    /// The newest snapshot seen of each table; a newer one is made from it, not from nothing.
    snapshots: Mutex<HashMap<TableName, Arc<Snapshot>>>,
}

impl Lake {
    /// The lake at `url`; nothing is read yet.
    pub fn new(url: &Url, stores: Arc<Stores>) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            root: stores.locate(url)?,
            stores,
            snapshots: Mutex::default(),
        }))
    }

    pub fn root(&self) -> &Location {
        &self.root
    }

    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// Makes the lake's store known to a DataFusion session, so that scans of its files run.
    pub fn register(&self, runtime: &RuntimeEnv) {
        runtime.register_object_store(self.root.url(), Arc::clone(self.root.store()));
    }

    /// Names of the tables in the lake, in order.
    pub async fn tables(&self) -> Result<Vec<TableName>, Error> {
        let names = self.root.directories().await?;
        let tables = futures::stream::iter(names)
            .map(|name| async move {
                let Ok(name) = name.parse::<TableName>() else {
                    return Ok(None);
                };
                let log = self.location(&name).join("_delta_log");
                let is_table = log.is_log().await?;
                Ok::<_, Error>(is_table.then_some(name))
            })
            .buffered(LIST_CONCURRENCY)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(tables.into_iter().flatten().collect())
    }

    /// The newest version of a table, or `None` when there is no such table.
    ///
    /// Every call looks at the log, so that a commit is visible to the next query, and so is a table that
    /// was created anew.
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

    /// A table to write to, created from `schema` when it is absent. Columns that only `schema` has are added to it.
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
