//! Chooses the files of a watched directory that are read next.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use engine::lake::Location;
use object_store::ObjectMeta;
use object_store::path::Path;
use tracing::warn;

/// A file to be read.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// Path, size and time of the file.
    pub(crate) meta: ObjectMeta,
    /// How a last line without a line feed is read.
    pub(crate) ending: Ending,
    /// What follows when the file no longer exists.
    pub(crate) absence: Absence,
}

/// What follows when a chosen file no longer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// Reading fails.
    Fails,
    /// The file is skipped: another process removed it after the listing.
    Passes,
}

/// How a last line without a line feed is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As a complete line.
    Counts,
    /// Not yet: a writer may still be appending to it.
    MayGrow,
}

impl Chosen {
    /// A file that is complete.
    pub(crate) fn whole(meta: ObjectMeta) -> Self {
        Self {
            meta,
            ending: Ending::Counts,
            absence: Absence::Fails,
        }
    }
}

/// Remembers between two listings what has been read.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: HashMap<Path, SeenFile>,
    /// Files that are left out, and reported.
    left_out: HashSet<Path>,
}

#[derive(Clone, Copy, Debug)]
struct SeenFile {
    size: u64,
    modified: DateTime<Utc>,
    /// Its last line was left out.
    held: bool,
}

impl Watch {
    /// Chooses new and changed files, and files whose last line was left out and that have not
    /// changed since: that line is complete.
    pub(crate) fn choose(&mut self, found: Vec<ObjectMeta>) -> Vec<Chosen> {
        let chosen = found.into_iter().filter_map(|meta| {
            let now = SeenFile {
                size: meta.size,
                modified: meta.last_modified,
                held: false,
            };
            let before = self.seen.insert(meta.location.clone(), now);
            let before =
                before.filter(|before| (before.size, before.modified) == (now.size, now.modified));
            let ending = match before {
                None => Ending::MayGrow,
                Some(SeenFile { held: true, .. }) => Ending::Counts,
                Some(SeenFile { held: false, .. }) => return None,
            };
            Some(Chosen {
                meta,
                ending,
                absence: Absence::Passes,
            })
        });
        chosen.collect()
    }

    /// Warns once about each file with an unexpected name.
    pub(crate) fn leave_out(&mut self, place: &Location, unexpected: Vec<Path>) {
        for file in unexpected {
            let address = place.address_of(&file);
            if self.left_out.insert(file) {
                warn!(
                    file = address,
                    "its name is none of an export file, which ends in .json; it is left out"
                );
            }
        }
    }

    /// Records that the last lines of these files were left out.
    pub(crate) fn hold(&mut self, files: Vec<Path>) {
        for file in files {
            if let Some(seen) = self.seen.get_mut(&file) {
                seen.held = true;
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

    use super::{Ending, Watch};

    #[test]
    fn changed_or_unfinished_file_is_read_again() {
        let look = |watch: &mut Watch, size: u64| {
            let meta = ObjectMeta {
                location: Path::from("a.json"),
                last_modified: DateTime::<Utc>::UNIX_EPOCH,
                size,
                e_tag: None,
                version: None,
            };
            let chosen = watch.choose(vec![meta]);
            chosen.first().map(|file| file.ending)
        };
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 5), Some(Ending::MayGrow));
        assert_eq!(look(&mut watch, 5), None);
        assert_eq!(look(&mut watch, 9), Some(Ending::MayGrow));
        watch.hold(vec![Path::from("a.json")]);
        assert_eq!(look(&mut watch, 12), Some(Ending::MayGrow));
        watch.hold(vec![Path::from("a.json")]);
        assert_eq!(look(&mut watch, 12), Some(Ending::Counts));
        assert_eq!(look(&mut watch, 12), None);
        watch.forget(&[Path::from("a.json")]);
        assert_eq!(look(&mut watch, 12), Some(Ending::MayGrow));
    }
}
