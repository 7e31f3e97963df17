//! The data files of a version, of which the version that follows shares nearly all.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::snapshot_file::SnapshotFile;

/// Files that came one commit after the other, before they are put with the others; of a large table an eighth of it.
const RECENT_MIN: usize = 64;
const RECENT_SHARE: usize = 8;

/// The data files of one version. What a commit adds costs the files of the latest commits, and only now and then all of them,
/// so that a commit becomes no dearer with those before it.
#[derive(Debug)]
pub(super) struct Files {
    /// The newest first, all newer than those that are settled.
    recent: Vec<Arc<SnapshotFile>>,
    settled: Arc<Settled>,
}

/// Files that versions share.
#[derive(Debug)]
struct Settled {
    /// The newest first.
    files: Vec<Arc<SnapshotFile>>,
    /// What their paths below the table are, nearly: two may have one hash.
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Files {
    /// `files` are the newest first.
    pub(super) fn new(files: Vec<Arc<SnapshotFile>>) -> Self {
        let hasher = RandomState::new();
        let hashes = files.iter().map(|file| hasher.hash_one(&file.relative));
        Self {
            recent: Vec::new(),
            settled: Arc::new(Settled {
                hashes: hashes.collect(),
                files,
                hasher,
            }),
        }
    }

    /// Those of the version that has `added` and lacks `gone`, which are paths below the table. A file that is added may
    /// have the path of one that goes.
    pub(super) fn after(&self, added: Vec<Arc<SnapshotFile>>, gone: &HashSet<String>) -> Self {
        let stays = |file: &&Arc<SnapshotFile>| !gone.contains(&file.relative);
        let recent = self.recent.iter().filter(stays).cloned();
        let recent: Vec<_> = added.into_iter().chain(recent).collect();
        let most = RECENT_MIN.max(self.settled.files.len() / RECENT_SHARE);
        if recent.len() <= most && !gone.iter().any(|path| self.settled.may_have(path)) {
            return Self {
                recent,
                settled: Arc::clone(&self.settled),
            };
        }
        let settled = self.settled.files.iter().filter(stays).cloned();
        Self::new(recent.into_iter().chain(settled).collect())
    }

    /// The newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<SnapshotFile>> {
        self.recent.iter().chain(&self.settled.files)
    }

    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.settled.files.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Settled {
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

    use super::super::location::Location;
    use super::super::snapshot_file::{Layout, SnapshotFile};
    use super::{Files, RECENT_MIN};

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

    fn gone(paths: &[&str]) -> HashSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn told(files: &Files) -> Vec<(&str, u64)> {
        let told: Vec<_> = files
            .iter()
            .map(|file| (file.relative.as_str(), file.size))
            .collect();
        assert_eq!(files.len(), told.len());
        assert_eq!(files.is_empty(), told.is_empty());
        told
    }

    #[test]
    fn files_come_and_go_the_newest_first() {
        let none = Files::new(Vec::new());
        assert!(none.is_empty());
        let one = Files::new(vec![file("a", 1)]);
        let two = one.after(vec![file("b", 1)], &gone(&["b"]));
        assert_eq!(told(&two), [("b", 1), ("a", 1)]);
        let without = two.after(vec![file("c", 1)], &gone(&["a", "c"]));
        assert_eq!(told(&without), [("c", 1), ("b", 1)]);
        let anew = two.after(vec![file("a", 2)], &gone(&["a"]));
        assert_eq!(told(&anew), [("a", 2), ("b", 1)]);
        let recent = two.after(vec![file("b", 2)], &gone(&["b"]));
        assert_eq!(told(&recent), [("b", 2), ("a", 1)]);
        assert_eq!(told(&two), [("b", 1), ("a", 1)], "a version never changes");
    }

    #[test]
    fn a_commit_that_adds_a_file_shares_the_others_with_the_version_before() {
        let mut files = Files::new(Vec::new());
        let mut settled_anew = 0;
        let commits = 10_000;
        for number in 0..commits {
            let path = number.to_string();
            let next = files.after(vec![file(&path, 1)], &gone(&[&path]));
            settled_anew += usize::from(!Arc::ptr_eq(&next.settled, &files.settled));
            files = next;
        }
        let numbers: Vec<u64> = told(&files)
            .iter()
            .map(|(path, _)| path.parse().expect("a number"))
            .collect();
        assert!(numbers.iter().copied().eq((0..commits).rev()));
        assert!(settled_anew < RECENT_MIN, "{settled_anew} times");
    }
}
