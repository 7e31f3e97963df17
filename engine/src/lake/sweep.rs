//! Removal of what a killed writer left behind: data files that no commit names, temporary files.

use std::collections::HashSet;

use object_store::path::Path;

use super::data_file::OURS;
use super::table::{Outcome, SWEEP, Table};
use super::temporary::{Stored, name_of};
use super::{Change, Transaction};
use crate::error::Error;

/// How often a claim is tried while others commit.
const CLAIM_TRIES: usize = 15;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub files: usize,
    pub bytes: u64,
}

/// What may become of a file that lies in the table's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is part of the table, or was not written by us.
    Stays,
    /// A writer that still runs may be about to commit it.
    GoesOnceClaimed,
    /// No writer can make it part of the table any more, or none needs it.
    Goes,
}

impl Table {
    /// Removes files that no version of the log names any more and no writer will name.
    ///
    /// A data file without a commit, or a temporary log entry of a version that is not taken, may be
    /// garbage of a killed writer, or belong to one that is about to commit. To tell, a mark is
    /// committed first when there is such a file: a writer that still runs then finds that of
    /// another and stops, or starts anew, without naming its files. No clock is asked.
    ///
    /// # Errors
    /// When the storage fails, or others commit to the table all the time.
    pub async fn sweep(&mut self) -> Result<Swept, Error> {
        let (mut unclaimed, mut leftovers) = (Vec::new(), Vec::new());
        let named = self.named().await?;
        for file in self.location().list_with_temporaries().await? {
            match self.judge(&file, &named) {
                Verdict::Stays => {}
                Verdict::GoesOnceClaimed => unclaimed.push(file),
                Verdict::Goes => leftovers.push(file),
            }
        }
        if !unclaimed.is_empty() {
            self.claim().await?;
            // What was committed between the look and the claim is named now. Versions need no second
            // look: a writer tries the version that follows the last, so by the commit of the claim each is
            // taken that an entry seen before it can be of.
            let named = self.named().await?;
            unclaimed.retain(|file| !named.contains(&file.path));
            leftovers.append(&mut unclaimed);
        }
        self.location().remove(leftovers).await
    }

    /// Leaves a mark, so that a writer who left another one before stops. A mark that another sweep has left since the files
    /// were seen does the same: of many that begin at once none has to wait for its turn.
    async fn claim(&mut self) -> Result<(), Error> {
        // Of a mark that is not there yet it is known that it came after the files were seen.
        self.reload().await?;
        let seen = self.snapshot().transaction(SWEEP).await?;
        let change = Change {
            transactions: vec![Transaction::unique(SWEEP)],
            ..Change::default()
        };
        for _ in 0..CLAIM_TRIES {
            if let Outcome::Committed(_) = self.commit(&change).await? {
                return Ok(());
            }
            if self.snapshot().transaction(SWEEP).await? != seen {
                return Ok(());
            }
        }
        Err(Error::Contended {
            table: self.name().clone(),
            tries: CLAIM_TRIES,
        })
    }

    /// Files of the present version, and those that have left it and the log still knows: it forgets them
    /// with the first checkpoint after a week.
    async fn named(&self) -> Result<HashSet<Path>, Error> {
        let snapshot = self.snapshot();
        let present = snapshot.files().iter().map(|file| file.path.clone());
        Ok(present.chain(snapshot.retired().await?).collect())
    }

    fn judge(&self, file: &Stored, named: &HashSet<Path>) -> Verdict {
        let log = self.location().path().clone().join("_delta_log");
        if file.path.prefix_match(&log).is_some() {
            return judge_in_log(file.name(), self.snapshot().version());
        }
        let of = file.temporary_of().unwrap_or(file.name());
        if is_ours(of) && !named.contains(&file.path) {
            Verdict::GoesOnceClaimed
        } else {
            Verdict::Stays
        }
    }
}

/// What may become of a file in the log of a table whose last version is `last`.
fn judge_in_log(name: &str, last: u64) -> Verdict {
    let Some(of) = name_of(name) else {
        return Verdict::Stays;
    };
    match version(of) {
        // The rename can only fail.
        Some(version) if version <= last => Verdict::Goes,
        Some(_) => Verdict::GoesOnceClaimed,
        // A checkpoint only repeats the log, and its writer has committed before it wrote it: one that
        // still runs finds its commit in the log when the rename fails, and goes on without.
        None if of == "_last_checkpoint" || of.contains(".checkpoint.") => Verdict::Goes,
        None => Verdict::Stays,
    }
}

/// Whether a data file has the kind of name we give; other writers' files are not ours to judge.
fn is_ours(name: &str) -> bool {
    name.starts_with(OURS) && name.ends_with(".parquet")
}

/// The version of a log entry by its file name.
fn version(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Verdict, is_ours, judge_in_log};

    #[test]
    fn what_goes_from_a_log_is_told_by_names_and_the_last_version() {
        let check =
            |name: &str, expected: Verdict| assert_eq!(judge_in_log(name, 8), expected, "{name}");
        check("00000000000000000008.json", Verdict::Stays);
        check("00000000000000000008.checkpoint.parquet", Verdict::Stays);
        check("_last_checkpoint", Verdict::Stays);
        check(".00000000000000000008.json.tmp.1", Verdict::Goes);
        check("00000000000000000008.json#1", Verdict::Goes);
        check(".00000000000000000009.json.tmp.1", Verdict::GoesOnceClaimed);
        check("00000000000000000009.json#1", Verdict::GoesOnceClaimed);
        check(
            ".00000000000000000008.checkpoint.parquet.tmp.2",
            Verdict::Goes,
        );
        check("00000000000000000008.checkpoint.parquet#2", Verdict::Goes);
        check("._last_checkpoint.tmp.1", Verdict::Goes);
        check("_last_checkpoint#1", Verdict::Goes);
        check(".of-another-writer.tmp.1", Verdict::Stays);
    }

    #[test]
    fn files_of_other_writers_are_not_ours() {
        assert!(is_ours("isobar-1.zstd.parquet") && !is_ours("part-00000-of-spark.snappy.parquet"));
    }
}
