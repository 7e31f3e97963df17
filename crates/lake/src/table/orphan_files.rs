//! Removal of orphan files: data files that no commit names, or whose tombstone has expired, and
//! temporary files of killed writers.
//!
//! An uncommitted data file looks the same whether its writer was killed or is about to commit it.
//! The table's log decides, not a clock: before such a file is deleted, a [`FencingToken`] is
//! committed. A running writer either conflicts with the commit of the token, or finds the token
//! in the version that it commits on. Both ways it uploads its files again under new names.

use std::collections::HashSet;

use object_store::path::Path;

use super::Table;
use crate::commit::{AppTransaction, CommitActions, CommitOutcome};
use crate::data_file::OUR_PREFIX;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::store::{RemovedFiles, StoredFile, final_name};

/// How often a fence is tried while other writers commit.
const FENCE_TRIES: usize = 15;

/// A number that one removal of orphan files recorded in the log of a table.
///
/// A writer that has uploaded files and not committed them compares the newest token with the one
/// that it read before the upload. When the two differ, its files may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencingToken(i64);

impl FencingToken {
    /// The application id under which the log keeps the newest token.
    const APP_ID: &str = "isobar/sweep";

    /// The newest token in the log of `snapshot`, if a removal has fenced the table before.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn newest(snapshot: &Snapshot) -> Result<Option<Self>, Error> {
        Ok(snapshot.transaction(Self::APP_ID).await?.map(Self))
    }
}

/// What the removal does with a file in the table's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    /// The file is part of the table, a tombstone still names it, or another tool wrote it.
    Keep,
    /// A running writer may be about to commit the file: it is deleted only behind a fence.
    DeleteOnceFenced,
    /// Needs no fence: no writer can commit the file any more, or its writer tolerates the loss, as
    /// of a checkpoint.
    Delete,
}

impl Table {
    /// Deletes files that no version of the log names and no writer is going to name.
    ///
    /// A data file without a commit, or a temporary log entry of a version that does not exist yet,
    /// may be garbage of a killed writer or belong to a running one. When there is such a file, a
    /// fencing token is committed first, which makes running writers upload their files again.
    ///
    /// # Errors
    /// When the storage fails, or other writers win every commit.
    pub async fn remove_orphan_files(&mut self) -> Result<RemovedFiles, Error> {
        let (mut unfenced, mut orphans) = (Vec::new(), Vec::new());
        let named = self.named_files().await?;
        for file in self.location().list_with_temporaries().await? {
            match self.disposition_of(&file, &named) {
                Disposition::Keep => {}
                Disposition::DeleteOnceFenced => unfenced.push(file),
                Disposition::Delete => orphans.push(file),
            }
        }
        if !unfenced.is_empty() {
            self.commit_fence().await?;
            // A writer may have committed some of these files between our listing and the fence;
            // the log names them now. Temporary log entries need no second look: writers only try
            // the version after the newest, so once the fence is committed every listed entry
            // targets a version that exists, and its rename must fail.
            let named = self.named_files().await?;
            unfenced.retain(|file| !named.contains(&file.path));
            orphans.append(&mut unfenced);
        }
        self.location().remove(orphans).await
    }

    /// Commits a fencing token: a concurrent writer that sees it re-uploads its staged files.
    ///
    /// The token of another removal that was committed after our listing serves as well, so
    /// concurrent removals need only one.
    async fn commit_fence(&mut self) -> Result<(), Error> {
        // Reload first, so that any later token is known to be newer than the listing.
        self.reload().await?;
        let before = FencingToken::newest(self.snapshot()).await?;
        let actions = CommitActions {
            transactions: vec![AppTransaction::unique(FencingToken::APP_ID)],
            ..CommitActions::default()
        };
        for _ in 0..FENCE_TRIES {
            if let CommitOutcome::Committed(_) = self.commit(&actions).await? {
                return Ok(());
            }
            if FencingToken::newest(self.snapshot()).await? != before {
                return Ok(());
            }
        }
        Err(Error::TooManyConflicts {
            table: self.name().clone(),
            tries: FENCE_TRIES,
        })
    }

    /// Files of the current version, and files that have left the table but that the log still
    /// lists. The log drops the latter with the first checkpoint after a week.
    async fn named_files(&self) -> Result<HashSet<Path>, Error> {
        let snapshot = self.snapshot();
        let present = snapshot.files().iter().map(|file| file.path.clone());
        Ok(present.chain(snapshot.retired().await?).collect())
    }

    fn disposition_of(&self, file: &StoredFile, named: &HashSet<Path>) -> Disposition {
        let log = self.location().path().clone().join("_delta_log");
        if file.path.prefix_match(&log).is_some() {
            return disposition_in_log(file.name(), self.snapshot().version());
        }
        let name = file.temporary_for().unwrap_or(file.name());
        if is_ours(name) && !named.contains(&file.path) {
            Disposition::DeleteOnceFenced
        } else {
            Disposition::Keep
        }
    }
}

/// What the removal does with the file `name` in the log of a table whose newest version is `last`.
fn disposition_in_log(name: &str, last: u64) -> Disposition {
    let Some(target) = final_name(name) else {
        return Disposition::Keep;
    };
    match version(target) {
        // The version exists, so the writer's rename can only fail.
        Some(version) if version <= last => Disposition::Delete,
        Some(_) => Disposition::DeleteOnceFenced,
        // A checkpoint only repeats the log, and its writer committed before it began to write it.
        // A writer whose rename fails here finds its commit in the log, and continues without a
        // checkpoint.
        None if target == "_last_checkpoint" || target.contains(".checkpoint.") => {
            Disposition::Delete
        }
        None => Disposition::Keep,
    }
}

/// Whether Isobar gives data files such a name; data files of other tools are never deleted.
fn is_ours(name: &str) -> bool {
    name.starts_with(OUR_PREFIX) && name.ends_with(".parquet")
}

/// The version of a log entry, from its file name.
fn version(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Disposition, disposition_in_log, is_ours};

    #[test]
    fn temporary_log_entry_of_an_existing_version_is_deleted_without_a_fence() {
        let check = |name: &str, expected: Disposition| {
            assert_eq!(disposition_in_log(name, 8), expected, "{name}")
        };
        check("00000000000000000008.json", Disposition::Keep);
        check("00000000000000000008.checkpoint.parquet", Disposition::Keep);
        check("_last_checkpoint", Disposition::Keep);
        check(".00000000000000000008.json.tmp.1", Disposition::Delete);
        check("00000000000000000008.json#1", Disposition::Delete);
        check(
            ".00000000000000000009.json.tmp.1",
            Disposition::DeleteOnceFenced,
        );
        check("00000000000000000009.json#1", Disposition::DeleteOnceFenced);
        check(
            ".00000000000000000008.checkpoint.parquet.tmp.2",
            Disposition::Delete,
        );
        check(
            "00000000000000000008.checkpoint.parquet#2",
            Disposition::Delete,
        );
        check("._last_checkpoint.tmp.1", Disposition::Delete);
        check("_last_checkpoint#1", Disposition::Delete);
        check(".of-another-writer.tmp.1", Disposition::Keep);
    }

    #[test]
    fn data_file_of_another_tool_is_not_ours() {
        assert!(is_ours("isobar-1.zstd.parquet") && !is_ours("part-00000-of-spark.snappy.parquet"));
    }
}
