//! What a commit does and how it ends. `Table::commit` executes it.

use arrow::datatypes::SchemaRef;
use uuid::Uuid;

use crate::data_file::DataFile;
use crate::partition::PartitionKey;

/// An application transaction: Delta's `txn` action, a number that is committed with the data.
///
/// Isobar records source positions, fingerprints of runs and fencing tokens as such. The log keeps
/// the last version of each application id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppTransaction {
    /// The name under which the log keeps the version.
    pub app_id: String,
    /// The recorded number; its meaning depends on the application id.
    pub version: i64,
}

impl AppTransaction {
    /// A token: a random version, which no other writer records under `app_id`. A writer that
    /// remembers the last token notices a commit of another writer in between.
    pub fn unique(app_id: &str) -> Self {
        let (high, _) = Uuid::new_v4().as_u64_pair();
        Self {
            app_id: app_id.to_owned(),
            version: i64::try_from(high >> 1).unwrap_or_default(),
        }
    }
}

/// What one commit does, atomically.
#[derive(Clone, Debug, Default)]
pub struct CommitActions {
    /// Stored files that become part of the table.
    pub add: Vec<DataFile>,
    /// Partitions whose current files all leave the table.
    pub replace: Vec<PartitionKey>,
    /// Files of the current version that leave the table.
    pub remove: Vec<DataFile>,
    /// All columns of the table from this commit on; `None` leaves them unchanged.
    pub columns: Option<SchemaRef>,
    /// Numbers to record under their application ids.
    pub transactions: Vec<AppTransaction>,
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The actions are this version of the table.
    Committed(u64),
    /// Another writer committed first and the actions are not in the table. The table has been
    /// reloaded, so that the caller can decide whether they still apply.
    Conflict,
}
