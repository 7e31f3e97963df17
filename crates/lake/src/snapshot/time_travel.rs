//! Time travel: which version of a table a reader asked for, and what the log still has of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use object_store::ObjectMeta;

use crate::error::Error;
use crate::name::TableName;
use crate::store::Location;

/// The property of a table whose commits carry their own time, see
/// <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#in-commit-timestamps>.
pub(crate) const IN_COMMIT_TIMESTAMPS: &str = "delta.enableInCommitTimestamps";

/// The version of a table that a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// The version with this number in the Delta log.
    Version(u64),
    /// The newest version that was committed at this instant or before.
    Timestamp(DateTime<Utc>),
}

/// The commits and checkpoints that a log has, by version.
#[derive(Debug, Default)]
pub(crate) struct LogListing {
    /// When each commit was written, milliseconds since the epoch.
    commits: BTreeMap<u64, i64>,
    checkpoints: Vec<u64>,
}

impl LogListing {
    pub(crate) async fn read(table: &Location) -> Result<Self, Error> {
        let files = table.join("_delta_log").list().await?;
        Ok(Self::of(&files))
    }

    fn of(files: &[ObjectMeta]) -> Self {
        let mut listing = Self::default();
        for file in files {
            let name = file.location.filename().unwrap_or_default();
            let Some((number, suffix)) = name.split_once('.') else {
                continue;
            };
            let Some(version) = version_of(number) else {
                continue;
            };
            if suffix == "json" {
                let written_ms = file.last_modified.timestamp_millis();
                listing.commits.insert(version, written_ms);
            } else if suffix.starts_with("checkpoint.") {
                listing.checkpoints.push(version);
            }
        }
        listing.checkpoints.sort_unstable();
        listing
    }

    /// The version that `as_of` means in the log of `table`.
    ///
    /// # Errors
    /// When the log does not have that version, because there is none yet or log cleanup has
    /// deleted it.
    pub(crate) fn resolve(&self, table: &TableName, as_of: AsOf) -> Result<u64, Error> {
        let version = match as_of {
            AsOf::Version(version) => Some(version),
            AsOf::Timestamp(instant) => self.committed_by(instant.timestamp_millis()),
        };
        let version = version.filter(|version| self.is_readable(*version));
        version.ok_or_else(|| self.missing(table, as_of))
    }

    /// The newest version that was committed at `instant_ms` or before.
    ///
    /// Clocks of writers differ, so an entry may be older than the one before it. Delta's readers
    /// then take it for one millisecond younger than that one, and so does this.
    fn committed_by(&self, instant_ms: i64) -> Option<u64> {
        let mut previous_ms = i64::MIN;
        let mut found = None;
        for (version, written_ms) in &self.commits {
            let committed_ms = (*written_ms).max(previous_ms.saturating_add(1));
            if committed_ms > instant_ms {
                break;
            }
            found = Some(*version);
            previous_ms = committed_ms;
        }
        found
    }

    /// Whether a reader can rebuild `version`: by the commits since the first, or since a
    /// checkpoint.
    fn is_readable(&self, version: u64) -> bool {
        let mut checkpoints = self.checkpoints.iter().rev();
        let checkpoint = checkpoints.find(|checkpoint| **checkpoint <= version);
        let first = checkpoint.map_or(0, |checkpoint| checkpoint + 1);
        (first..=version).all(|needed| self.commits.contains_key(&needed))
    }

    fn missing(&self, table: &TableName, as_of: AsOf) -> Error {
        let known = self.commits.keys().chain(&self.checkpoints).copied();
        let readable = known.filter(|version| self.is_readable(*version));
        let oldest = readable.clone().min();
        Error::NoSuchVersion {
            table: table.clone(),
            asked: match as_of {
                AsOf::Version(version) => format!("version {version}"),
                AsOf::Timestamp(instant) => format!("version of {}", instant.to_rfc3339()),
            },
            oldest: oldest.unwrap_or_default(),
            newest: readable.max().unwrap_or_default(),
        }
    }
}

/// The version that a file name of the log begins with: twenty digits.
fn version_of(number: &str) -> Option<u64> {
    let is_version = number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_version)
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;

    /// A log with these files, each with the seconds since the epoch at which it was written.
    fn listing(files: &[(&str, i64)]) -> LogListing {
        let files = files.iter().map(|(name, written_s)| ObjectMeta {
            location: Path::from(format!("lake/t/_delta_log/{name}")),
            last_modified: DateTime::from_timestamp(*written_s, 0).expect("an instant"),
            size: 1,
            e_tag: None,
            version: None,
        });
        LogListing::of(&files.collect::<Vec<_>>())
    }

    fn commit(version: u64) -> String {
        format!("{version:020}.json")
    }

    fn at(listing: &LogListing, as_of: AsOf) -> Result<u64, String> {
        let table = "t".parse().expect("a name");
        let resolved = listing.resolve(&table, as_of);
        resolved.map_err(|error| error.to_string())
    }

    fn second(second: i64) -> AsOf {
        AsOf::Timestamp(DateTime::from_timestamp(second, 0).expect("an instant"))
    }

    #[test]
    fn instant_means_the_newest_version_committed_by_then() {
        let log = listing(&[(&commit(0), 100), (&commit(1), 200), (&commit(2), 300)]);
        assert_eq!(at(&log, second(100)), Ok(0));
        assert_eq!(at(&log, second(199)), Ok(0));
        assert_eq!(at(&log, second(200)), Ok(1));
        assert_eq!(at(&log, second(999)), Ok(2));
        let refused = at(&log, second(99)).expect_err("before the first commit");
        assert!(
            refused.contains("no version of 1970-01-01T00:01:39+00:00"),
            "{refused}"
        );
    }

    #[test]
    fn commit_older_than_the_one_before_counts_as_younger() {
        let log = listing(&[(&commit(0), 100), (&commit(1), 50), (&commit(2), 300)]);
        // Version 1 counts from 100.001 s on.
        assert_eq!(at(&log, second(100)), Ok(0));
        assert_eq!(at(&log, second(101)), Ok(1));
    }

    #[test]
    fn version_is_readable_from_the_first_commit_or_a_checkpoint() {
        let checkpoint = format!("{:020}.checkpoint.parquet", 2);
        let log = [
            (checkpoint.as_str(), 300),
            (&commit(1), 200),
            (&commit(2), 300),
            (&commit(3), 400),
            ("_last_checkpoint", 300),
            (".tmp.json", 300),
        ];
        let log = listing(&log);
        assert_eq!(at(&log, AsOf::Version(2)), Ok(2));
        assert_eq!(at(&log, AsOf::Version(3)), Ok(3));
        for (as_of, asked) in [
            (AsOf::Version(1), "version 1"),
            (AsOf::Version(4), "version 4"),
            (second(200), "version of 1970-01-01T00:03:20+00:00"),
        ] {
            let refused = at(&log, as_of).expect_err(asked);
            assert!(
                refused.contains(&format!("no {asked}: its log has versions 2 to 3")),
                "{refused}"
            );
        }
    }
}
