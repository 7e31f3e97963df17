//! Chooses the files of a watched directory that are read next.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use lake::Location;
use object_store::ObjectMeta;
use object_store::path::Path;
use tracing::warn;

/// A file to be read.
#[derive(Clone, Debug)]
pub(crate) struct SelectedFile {
    /// Path, size and time of the file.
    pub(crate) meta: ObjectMeta,
    /// How a last line without a line feed is read.
    pub(crate) last_line: LastLine,
    /// What follows when the file no longer exists.
    pub(crate) if_missing: MissingFile,
}

/// What follows when a selected file no longer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingFile {
    /// Reading fails.
    Fail,
    /// The file is skipped: another process removed it after the listing.
    Skip,
}

/// How a last line without a line feed is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// As a complete line.
    Complete,
    /// Not yet: a writer may still be appending to it.
    MayGrow,
}

impl SelectedFile {
    /// A file that is complete.
    pub(crate) fn whole(meta: ObjectMeta) -> Self {
        Self {
            meta,
            last_line: LastLine::Complete,
            if_missing: MissingFile::Fail,
        }
    }
}

/// Remembers between two listings what has been read.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: HashMap<Path, SeenFile>,
    /// Files that are left out, and reported.
    warned: HashSet<Path>,
}

#[derive(Clone, Copy, Debug)]
struct SeenFile {
    size: u64,
    modified: DateTime<Utc>,
    /// Its last line was left out.
    incomplete: bool,
}

impl Watch {
    /// Chooses new and changed files, and files whose last line was left out and that have not
    /// changed since: that line is complete.
    pub(crate) fn choose(&mut self, found: Vec<ObjectMeta>) -> Vec<SelectedFile> {
        let chosen = found.into_iter().filter_map(|meta| {
            let now = SeenFile {
                size: meta.size,
                modified: meta.last_modified,
                incomplete: false,
            };
            let before = self.seen.insert(meta.location.clone(), now);
            let before =
                before.filter(|before| (before.size, before.modified) == (now.size, now.modified));
            let last_line = match before {
                None => LastLine::MayGrow,
                Some(SeenFile {
                    incomplete: true, ..
                }) => LastLine::Complete,
                Some(SeenFile {
                    incomplete: false, ..
                }) => return None,
            };
            Some(SelectedFile {
                meta,
                last_line,
                if_missing: MissingFile::Skip,
            })
        });
        chosen.collect()
    }

    /// Warns once about each file with an unexpected name.
    pub(crate) fn warn_unexpected(&mut self, place: &Location, unexpected: Vec<Path>) {
        for file in unexpected {
            let address = place.address_of(&file);
            if self.warned.insert(file) {
                warn!(
                    file = address,
                    "the name is not that of an export file, which ends in .json; it is left out"
                );
            }
        }
    }

    /// Records that the last lines of these files were left out.
    pub(crate) fn mark_incomplete(&mut self, files: Vec<Path>) {
        for file in files {
            if let Some(seen) = self.seen.get_mut(&file) {
                seen.incomplete = true;
            }
        }
    }

    /// Forgets files that disappeared before they were read: one that returns counts as new.
    pub(crate) fn forget(&mut self, files: &[Path]) {
        for file in files {
            self.seen.remove(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use object_store::ObjectMeta;
    use object_store::path::Path;

    use super::{LastLine, Watch};

    #[test]
    fn changed_or_unfinished_file_is_read_again() {
        let list = |watch: &mut Watch, size: u64| {
            let meta = ObjectMeta {
                location: Path::from("a.json"),
                last_modified: DateTime::<Utc>::UNIX_EPOCH,
                size,
                e_tag: None,
                version: None,
            };
            let chosen = watch.choose(vec![meta]);
            chosen.first().map(|file| file.last_line)
        };
        let mut watch = Watch::default();
        assert_eq!(list(&mut watch, 5), Some(LastLine::MayGrow));
        assert_eq!(list(&mut watch, 5), None);
        assert_eq!(list(&mut watch, 9), Some(LastLine::MayGrow));
        watch.mark_incomplete(vec![Path::from("a.json")]);
        assert_eq!(list(&mut watch, 12), Some(LastLine::MayGrow));
        watch.mark_incomplete(vec![Path::from("a.json")]);
        assert_eq!(list(&mut watch, 12), Some(LastLine::Complete));
        assert_eq!(list(&mut watch, 12), None);
        watch.forget(&[Path::from("a.json")]);
        assert_eq!(list(&mut watch, 12), Some(LastLine::MayGrow));
    }
}
