//! Whether commits changed rows or only rewrote files, by their log entries.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::ScalarValue;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::data_file::statistics;
use crate::error::Error;
use crate::name::TableName;
use crate::snapshot::Snapshot;

/// One action of a log entry; actions other than these are ignored.
#[derive(Debug, Deserialize)]
struct Action {
    add: Option<File>,
    remove: Option<File>,
    #[serde(rename = "metaData")]
    metadata: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    /// False for a file of a rewrite, whose rows are in other files before or after the commit.
    data_change: bool,
    #[serde(default)]
    partition_values: BTreeMap<String, Option<String>>,
}

/// A cache of log entries, each read once.
#[derive(Debug, Default)]
pub struct History {
    entries: Mutex<HashMap<(TableName, u64), Entry>>,
}

/// The actions of a commit; `None` when its entry was cleaned up or cannot be parsed.
type Entry = Option<Arc<Vec<Action>>>;

impl History {
    /// Whether all commits to `table` after `version` only rewrote the rows of `partitions`, which
    /// are values of the first partition column. False when log entries of these commits are
    /// missing.
    ///
    /// A removed file counts for every partition: `partitions` come from the current files, and the
    /// file may have been the last one of its partition.
    pub async fn is_only_rewritten(
        &self,
        table: &Snapshot,
        version: u64,
        partitions: &HashSet<Option<ScalarValue>>,
    ) -> Result<bool, Error> {
        if version > table.version() {
            return Ok(false);
        }
        for version in version + 1..=table.version() {
            let Some(actions) = self.entry(table, version).await? else {
                return Ok(false);
            };
            let changes = actions.iter().any(|action| {
                let adds = action.add.as_ref().is_some_and(|file| {
                    file.data_change && partitions.contains(&table.partition_of(file))
                });
                let removes = action.remove.as_ref().is_some_and(|file| file.data_change);
                adds || removes || action.metadata.is_some()
            });
            if changes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn entry(&self, table: &Snapshot, version: u64) -> Result<Entry, Error> {
        let key = (table.name().clone(), version);
        if let Some(known) = self.lock().get(&key) {
            return Ok(known.clone());
        }
        let entry = table.actions(version).await?.map(Arc::new);
        self.lock().insert(key, entry.clone());
        Ok(entry)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TableName, u64), Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// The id of the table in its metadata; a recreated table has another one.
    pub fn table_id(&self) -> String {
        self.metadata().id().to_owned()
    }

    /// The actions of the commit of `version`.
    async fn actions(&self, version: u64) -> Result<Option<Vec<Action>>, Error> {
        let name = format!("{version:020}.json");
        let entry = self.location().join("_delta_log").join(&name);
        let content = match entry.read().await {
            Ok(content) => content,
            Err(Error::Storage {
                source: object_store::Error::NotFound { .. },
                ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let lines = content.split(|byte| *byte == b'\n');
        let actions = lines.filter(|line| !line.is_empty());
        Ok(actions
            .map(|line| serde_json::from_slice(line).ok())
            .collect())
    }

    fn partition_of(&self, file: &File) -> Option<ScalarValue> {
        let column = self.partition_columns().next()?;
        let text = file.partition_values.get(column).and_then(Option::as_deref);
        let data_type = self.schema().field_with_name(column).ok()?.data_type();
        Some(statistics::partition_value(data_type, text).unwrap_or(ScalarValue::Null))
    }
}
