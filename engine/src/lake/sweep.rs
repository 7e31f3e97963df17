//! Removal of what a killed writer left behind: data files that no commit names, temporary files.

use std::collections::HashSet;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore as _;
use object_store::path::Path;

use super::data_file::OURS;
use super::table::{Outcome, SWEEP, Table};
use super::{Change, Transaction};
use crate::error::Error;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub files: usize,
    pub bytes: u64,
}

impl Table {
    /// Removes files that no version of the log names any more and no writer will name.
    ///
    /// A file without a commit may be garbage of a killed writer, or belong to one that is about to
    /// commit it. To tell, a mark is committed first when there is such a file: a writer that still
    /// runs then finds that of another and stops, or starts anew, without naming its files. No clock is
    /// asked. Temporary files of log entries are removed when their version is taken: their rename
    /// can only fail.
    ///
    /// # Errors
    /// When the storage fails, or another writer claims the table at the same time.
    pub async fn sweep(&mut self) -> Result<Swept, Error> {
        let (mut leftovers, stale) = self.unnamed().await?;
        if !leftovers.is_empty() {
            self.claim().await?;
            // What was committed between the look and the claim is named now.
            let named = self.named().await?;
            leftovers.retain(|(path, _)| !named.contains(path));
        }
        let found: Vec<_> = leftovers.into_iter().chain(stale).collect();
        let swept = Swept {
            files: found.len(),
            bytes: found.iter().map(|(_, size)| size).sum(),
        };
        let paths = futures::stream::iter(found.into_iter().map(|(path, _)| Ok(path))).boxed();
        let store = self.location().store();
        store
            .delete_stream(paths)
            .try_for_each(|_| async { Ok(()) })
            .await
            .map_err(|source| self.location().failed("remove leftover files from", source))?;
        Ok(swept)
    }

    /// Leaves a mark, so that a writer who left another one before stops.
    async fn claim(&mut self) -> Result<(), Error> {
        let change = Change {
            transactions: vec![Transaction::unique(SWEEP)],
            ..Change::default()
        };
        for _ in 0..CLAIM_TRIES {
            if let Outcome::Committed(_) = self.commit(&change).await? {
                return Ok(());
            }
        }
        Err(Error::Contended {
            table: self.name().clone(),
            tries: CLAIM_TRIES,
        })
    }

    /// Files of the present version, and of older ones that can still be read.
    async fn named(&self) -> Result<HashSet<Path>, Error> {
        let snapshot = self.snapshot();
        let present = snapshot.files().iter().map(|file| file.path.clone());
        Ok(present.chain(snapshot.retired().await?).collect())
    }

    /// Unnamed data files, and temporary log entries whose version is taken.
    async fn unnamed(&self) -> Result<(Vec<(Path, u64)>, Vec<(Path, u64)>), Error> {
        let (snapshot, named) = (self.snapshot(), self.named().await?);
        let (mut leftovers, mut stale) = (Vec::new(), Vec::new());
        for meta in self.location().list().await? {
            let name = meta.location.filename().unwrap_or_default();
            let in_log = meta
                .location
                .prefix_match(&self.location().path().clone().join("_delta_log"))
                .is_some();
            let entry = (meta.location.clone(), meta.size);
            match (in_log, temporary(name)) {
                (true, Some(of)) if version(of).is_some_and(|of| of <= snapshot.version()) => {
                    stale.push(entry);
                }
                (true, _) => {}
                (false, Some(of)) if is_ours(of) => leftovers.push(entry),
                (false, None) if is_ours(name) && !named.contains(&meta.location) => {
                    leftovers.push(entry);
                }
                (false, _) => {}
            }
        }
        Ok((leftovers, stale))
    }
}

/// How often a claim is tried while others commit.
const CLAIM_TRIES: usize = 15;

/// Whether a data file has the kind of name we give; other writers' files are not ours to judge.
fn is_ours(name: &str) -> bool {
    name.starts_with(OURS) && name.ends_with(".parquet")
}

/// The name that a temporary file was to get: `.NAME.tmp.N` on HDFS, `NAME#N` on a local disk.
fn temporary(name: &str) -> Option<&str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((of, number)) = name
        .strip_prefix('.')
        .and_then(|rest| rest.split_once(".tmp."))
        && digits(number)
    {
        return Some(of);
    }
    let (of, number) = name.split_once('#')?;
    digits(number).then_some(of)
}

/// The version of a log entry by its file name.
fn version(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_ours, temporary, version};

    #[test]
    fn temporary_files_are_told_by_their_names() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(temporary(name), expected, "{name}");
        check(".part-1.zstd.parquet.tmp.1", Some("part-1.zstd.parquet"));
        check(
            ".00000000000000000007.json.tmp.12",
            Some("00000000000000000007.json"),
        );
        check("part-1.zstd.parquet#3", Some("part-1.zstd.parquet"));
        check("part-1.zstd.parquet", None);
        check(".part.tmp.x", None);
        check("part#x", None);
        assert_eq!(version("00000000000000000007.json"), Some(7));
        assert_eq!(version("00000000000000000007.checkpoint.parquet"), None);
        assert!(is_ours("isobar-1.zstd.parquet") && !is_ours("part-00000-of-spark.snappy.parquet"));
    }
}
