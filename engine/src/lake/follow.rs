//! From a version of a table to later ones, by what their commits did.
//!
//! The library would read all that it knows of all files again for each version, so that a commit became dearer with every
//! one before it.

use std::collections::HashSet;

use deltalake_core::kernel::{Action, Add};

use super::snapshot::{Snapshot, log_entry};
use crate::error::Error;

/// With more commits than this behind a version, a checkpoint is the shorter way.
const FOLLOW_MAX: u64 = 100;

/// What the commits behind a version did to the files of a table.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The last of them.
    pub(super) version: u64,
    /// Paths of files that are not in the table any more, or there anew.
    pub(super) gone: HashSet<String>,
    /// The newest first.
    pub(super) added: Vec<Add>,
}

impl Snapshot {
    /// What became of the table since. `None` when it has to be opened anew, because its columns or properties are
    /// others, or its log says what only the library understands.
    pub(super) async fn follow(&self) -> Result<Option<Followed>, Error> {
        let mut followed = Followed {
            version: self.version(),
            ..Followed::default()
        };
        loop {
            let entry = log_entry(self.location(), followed.version + 1);
            let content = match entry.read().await {
                Ok(content) => content,
                Err(Error::Storage {
                    source: object_store::Error::NotFound { .. },
                    ..
                }) => return Ok(Some(followed)),
                Err(error) => return Err(error),
            };
            let is_far = followed.version == self.version() + FOLLOW_MAX;
            let actions = actions(&content).filter(|_| !is_far);
            if !actions.is_some_and(|actions| followed.take(actions)) {
                return Ok(None);
            }
        }
    }
}

/// What a log entry says; `None` when it is not what it should be.
fn actions(entry: &[u8]) -> Option<Vec<Action>> {
    let actions = serde_json::Deserializer::from_slice(entry).into_iter();
    actions.collect::<Result<_, _>>().ok()
}

impl Followed {
    /// Adds what one more commit did; false when that is more than to add and remove plain files.
    fn take(&mut self, actions: Vec<Action>) -> bool {
        let mut added = Vec::new();
        for action in actions {
            match action {
                Action::Add(file) if file.deletion_vector.is_none() => added.push(file),
                Action::Remove(file) if file.deletion_vector.is_none() => {
                    self.added.retain(|added| added.path != file.path);
                    self.gone.insert(file.path);
                }
                Action::Txn(_) | Action::CommitInfo(_) | Action::Cdc(_) => {}
                Action::Add(_)
                | Action::Remove(_)
                | Action::Metadata(_)
                | Action::Protocol(_)
                | Action::DomainMetadata(_) => return false,
            }
        }
        let again: HashSet<_> = added.iter().map(|file| file.path.clone()).collect();
        self.added.retain(|file| !again.contains(&file.path));
        self.gone.extend(again);
        self.added.splice(0..0, added);
        self.version += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Followed, actions};

    #[test]
    fn what_commits_did_to_the_files_is_followed() {
        let check = |commits: &[&str], added: &[&str], gone: &[&str]| {
            let mut followed = Followed::default();
            for commit in commits {
                assert!(followed.take(actions(commit.as_bytes()).expect("actions")));
            }
            let found: Vec<_> = followed.added.iter().map(|file| &file.path).collect();
            assert_eq!(found, added);
            let mut found: Vec<_> = followed.gone.iter().collect();
            found.sort();
            assert_eq!(found, gone);
            assert_eq!(followed.version, commits.len() as u64);
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
        // In whatever order they stand, what a commit adds is there after it.
        let again = format!("{}\n{}", add("a"), remove("a"));
        check(&[&add("a"), &again], &["a"], &["a"]);
    }

    #[test]
    fn what_is_more_than_files_is_not_followed() {
        let check = |commit: &str| {
            let told = actions(commit.as_bytes());
            assert!(
                !told.is_some_and(|told| Followed::default().take(told)),
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
