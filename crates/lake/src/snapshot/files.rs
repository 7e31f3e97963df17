//! The data files of a version. Consecutive versions share nearly all of them.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::file::SnapshotFile;

/// Recent files are merged into a new base when they exceed this number and this share of the base.
const RECENT_MIN: usize = 64;
const RECENT_SHARE: usize = 8;

/// The data files of one version: a short list of recent files over a base that versions share.
///
/// A commit copies the list of recent files, one sixteenth of the table on average. It copies the
/// base when the recent files outgrow their share, or when it removes a file of the base.
#[derive(Debug)]
pub struct Files {
    /// The newest first, all newer than the files of the base.
    recent: Vec<Arc<SnapshotFile>>,
    base: Arc<Base>,
}

/// Files that several versions share.
#[derive(Debug)]
struct Base {
    /// The newest first.
    files: Vec<Arc<SnapshotFile>>,
    /// Hashes of their paths below the table. Two paths may have the same hash.
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Files {
    /// `files` are the newest first.
    pub(crate) fn new(files: Vec<Arc<SnapshotFile>>) -> Self {
        let hasher = RandomState::new();
        let hashes = files.iter().map(|file| hasher.hash_one(&file.relative));
        Self {
            recent: Vec::new(),
            base: Arc::new(Base {
                hashes: hashes.collect(),
                files,
                hasher,
            }),
        }
    }

    /// The files of a later version: those of this one without `removed`, which are paths below the
    /// table, and `added`, the newest first. The path of an added file may be among the removed.
    pub(crate) fn after(&self, added: Vec<Arc<SnapshotFile>>, removed: &HashSet<String>) -> Self {
        let stays = |file: &&Arc<SnapshotFile>| !removed.contains(&file.relative);
        let recent = self.recent.iter().filter(stays).cloned();
        let recent: Vec<_> = added.into_iter().chain(recent).collect();
        let most = RECENT_MIN.max(self.base.files.len() / RECENT_SHARE);
        if recent.len() <= most && !removed.iter().any(|path| self.base.may_have(path)) {
            return Self {
                recent,
                base: Arc::clone(&self.base),
            };
        }
        let base = self.base.files.iter().filter(stays).cloned();
        Self::new(recent.into_iter().chain(base).collect())
    }

    /// The newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SnapshotFile>> {
        self.recent.iter().chain(&self.base.files)
    }

    pub fn len(&self) -> usize {
        self.recent.len() + self.base.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Base {
    fn may_have(&self, path: &str) -> bool {
        self.hashes.contains(&self.hasher.hash_one(path))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use arrow::datatypes::{Schema, SchemaRef};
    use deltalake_core::kernel::Add;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use url::Url;

    use super::super::file::{Layout, SnapshotFile};
    use super::{Files, RECENT_MIN};
    use crate::store::Location;

    fn file(relative: &str, size: i64) -> Arc<SnapshotFile> {
        let url = Url::parse("file:///table").expect("a URL");
        let table = Location::new(Arc::new(InMemory::new()), url, Path::from("table"));
        let add = Add {
            path: relative.to_owned(),
            size,
            ..Add::default()
        };
        let layout = Layout {
            location: &table,
            schema: &SchemaRef::new(Schema::empty()),
            partition_columns: &[],
            may_be_wide: false,
        };
        let file = SnapshotFile::from_log(add, &layout);
        Arc::new(file.expect("a table without partition columns"))
    }

    fn removed(paths: &[&str]) -> HashSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn listed(files: &Files) -> Vec<(&str, u64)> {
        let found: Vec<_> = files
            .iter()
            .map(|file| (file.relative.as_str(), file.size))
            .collect();
        assert_eq!(files.len(), found.len());
        assert_eq!(files.is_empty(), found.is_empty());
        found
    }

    #[test]
    fn files_of_a_later_version_are_listed_newest_first() {
        let none = Files::new(Vec::new());
        assert!(none.is_empty());
        let one = Files::new(vec![file("a", 1)]);
        let two = one.after(vec![file("b", 1)], &removed(&["b"]));
        assert_eq!(listed(&two), [("b", 1), ("a", 1)]);
        let without = two.after(vec![file("c", 1)], &removed(&["a", "c"]));
        assert_eq!(listed(&without), [("c", 1), ("b", 1)]);
        let replaced = two.after(vec![file("a", 2)], &removed(&["a"]));
        assert_eq!(listed(&replaced), [("a", 2), ("b", 1)]);
        let recent = two.after(vec![file("b", 2)], &removed(&["b"]));
        assert_eq!(listed(&recent), [("b", 2), ("a", 1)]);
        assert_eq!(
            listed(&two),
            [("b", 1), ("a", 1)],
            "a version never changes"
        );
    }

    #[test]
    fn version_that_adds_a_file_shares_the_base() {
        let mut files = Files::new(Vec::new());
        let mut new_bases = 0;
        let commits = 10_000;
        for number in 0..commits {
            let path = number.to_string();
            let next = files.after(vec![file(&path, 1)], &removed(&[&path]));
            new_bases += usize::from(!Arc::ptr_eq(&next.base, &files.base));
            files = next;
        }
        let numbers: Vec<u64> = listed(&files)
            .iter()
            .map(|(path, _)| path.parse().expect("a number"))
            .collect();
        assert!(numbers.iter().copied().eq((0..commits).rev()));
        assert!(new_bases < RECENT_MIN, "{new_bases} times");
    }
}
