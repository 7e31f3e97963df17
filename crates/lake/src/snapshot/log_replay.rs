//! Log replay: from one version of a table to the newest, by the log entries between the two.
//!
//! delta-rs reads the metadata of all files again for every version, so a refresh would cost as
//! much as the table is large. A replay costs one read per new commit, and two or three lookups.
//!
//! Replay handles commits that add and remove plain data files. Everything else, such as new
//! metadata, another protocol or a deletion vector, changes how files are read: the caller then
//! opens the table again through delta-rs.

use std::collections::HashSet;

use deltalake_core::kernel::{Action, Add};

use crate::error::Error;
use crate::store::Location;

/// With more new commits than this, opening the table from its checkpoint is faster.
const REPLAY_COMMITS_MAX: u64 = 100;

/// What the commits after a version did to the data files of a table.
///
/// The later version has `added`, and behind them the files of the earlier one without `removed`.
#[derive(Debug, Default)]
pub(crate) struct LogDelta {
    /// The version of the last replayed commit.
    pub(crate) version: u64,
    /// Paths below the table, of files that the commits removed. Paths of `added` are among them: a
    /// commit may add a file again whose path the earlier version has, and the newer entry wins.
    pub(crate) removed: HashSet<String>,
    /// Files that the commits added and did not remove again, the newest first.
    pub(crate) added: Vec<Add>,
}

/// Replays the log entries of `table` after `version` until the first one that does not exist.
///
/// `None` when the table has to be opened again: a commit does more than add and remove plain
/// data files, its entry cannot be parsed, or there are too many commits.
///
/// The entries do not prove that the table is still the same one: a table that was dropped and
/// recreated may have entries of the same versions. `Snapshot::refreshed` checks
/// that with `is_same_log`.
pub(crate) async fn replay_log(table: &Location, version: u64) -> Result<Option<LogDelta>, Error> {
    let mut delta = LogDelta {
        version,
        ..LogDelta::default()
    };
    loop {
        let entry = log_entry(table, delta.version + 1);
        let content = match entry.read().await {
            Ok(content) => content,
            Err(Error::Storage {
                source: object_store::Error::NotFound { .. },
                ..
            }) => return Ok(Some(delta)),
            Err(error) => return Err(error),
        };
        let has_too_many = delta.version == version + REPLAY_COMMITS_MAX;
        let actions = actions(&content).filter(|_| !has_too_many);
        if !actions.is_some_and(|actions| delta.apply(actions)) {
            return Ok(None);
        }
    }
}

/// Where the log entry of `version` lies.
pub(crate) fn log_entry(table: &Location, version: u64) -> Location {
    let name = format!("{version:020}.json");
    table.join("_delta_log").join(&name)
}

/// The actions of a log entry; `None` when it cannot be parsed.
fn actions(entry: &[u8]) -> Option<Vec<Action>> {
    let actions = serde_json::Deserializer::from_slice(entry).into_iter();
    actions.collect::<Result<_, _>>().ok()
}

impl LogDelta {
    /// Applies one more commit; false when it does more than add and remove plain data files.
    ///
    /// The actions of a commit have no order. A file that a commit adds is in the table after it,
    /// even when the same commit removes a file with its path.
    fn apply(&mut self, actions: Vec<Action>) -> bool {
        let mut added = Vec::new();
        for action in actions {
            match action {
                Action::Add(file) if file.deletion_vector.is_none() => added.push(file),
                Action::Remove(file) if file.deletion_vector.is_none() => {
                    self.added.retain(|added| added.path != file.path);
                    self.removed.insert(file.path);
                }
                // These do not change which rows the table has.
                Action::Txn(_) | Action::CommitInfo(_) | Action::Cdc(_) => {}
                Action::Add(_)
                | Action::Remove(_)
                | Action::Metadata(_)
                | Action::Protocol(_)
                | Action::DomainMetadata(_) => return false,
            }
        }
        let replaced: HashSet<_> = added.iter().map(|file| file.path.clone()).collect();
        self.added.retain(|file| !replaced.contains(&file.path));
        self.removed.extend(replaced);
        self.added.splice(0..0, added);
        self.version += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{LogDelta, actions};

    #[test]
    fn replayed_commits_yield_added_and_removed_files() {
        let check = |commits: &[&str], added: &[&str], removed: &[&str]| {
            let mut delta = LogDelta::default();
            for commit in commits {
                assert!(delta.apply(actions(commit.as_bytes()).expect("actions")));
            }
            let found: Vec<_> = delta.added.iter().map(|file| &file.path).collect();
            assert_eq!(found, added);
            let mut found: Vec<_> = delta.removed.iter().collect();
            found.sort();
            assert_eq!(found, removed);
            assert_eq!(delta.version, commits.len() as u64);
        };
        let add = |path: &str| {
            format!(
                r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":1,"modificationTime":1,"dataChange":true}}}}"#
            )
        };
        let remove = |path: &str| format!(r#"{{"remove":{{"path":"{path}","dataChange":true}}}}"#);
        let txn = r#"{"txn":{"appId":"a","version":1}}"#;
        check(&[], &[], &[]);
        check(&[txn], &[], &[]);
        check(&[&add("a"), &add("b")], &["b", "a"], &["a", "b"]);
        let replaced = format!("{}\n{}", remove("a"), add("b%20c"));
        check(&[&add("a"), &replaced], &["b c"], &["a", "b c"]);
        // A file that a commit adds is in the table after it, whatever the order of the actions.
        let again = format!("{}\n{}", add("a"), remove("a"));
        check(&[&add("a"), &again], &["a"], &["a"]);
    }

    #[test]
    fn commit_that_changes_more_than_files_ends_the_replay() {
        let check = |commit: &str| {
            let actions = actions(commit.as_bytes());
            assert!(
                !actions.is_some_and(|actions| LogDelta::default().apply(actions)),
                "{commit}"
            );
        };
        check("{");
        check(r#"{"something":{"new":1}}"#);
        check(r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#);
        check(
            r#"{"remove":{"path":"a","dataChange":true,"deletionVector":{"storageType":"u","pathOrInlineDv":"a","sizeInBytes":1,"cardinality":1}}}"#,
        );
    }
}
