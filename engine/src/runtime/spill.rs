//! The directory that the statements of this process spill to.
//!
//! Each process has one of its own, `<spill_path>/<pid>-<random>`, and holds a lock on the file
//! `….lock` beside it. A process that is killed leaves its directory and loses its lock, and the
//! next one to start removes it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tracing::{debug, info, warn};

use crate::error::Error;

const LOCK: &str = "lock";

/// A directory of this process. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct SpillDirectory {
    path: PathBuf,
    lock_path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl SpillDirectory {
    /// Creates a directory below the first of `parents` that can be written to.
    pub(super) fn first_of(parents: &[PathBuf]) -> Option<Self> {
        let found = parents.iter().find_map(|parent| Self::create(parent).ok());
        if found.is_none() {
            warn!(
                places = ?parents,
                "cannot spill: what does not fit into memory is refused (query.spill_path)"
            );
        }
        found
    }

    /// Creates a directory below `parent`.
    pub(super) fn below(parent: &Path) -> Result<Self, Error> {
        Self::create(parent).map_err(|source| Error::SpillDirectory {
            path: parent.to_owned(),
            source,
        })
    }

    fn create(parent: &Path) -> io::Result<Self> {
        private(parent)?;
        clean(parent);
        loop {
            let name = unique_name();
            let lock_path = parent.join(&name).with_extension(LOCK);
            let lock = File::create(&lock_path)?;
            lock.lock()?;
            // Another process that cleans may have taken the file for an abandoned one before it
            // was locked.
            let kept = fs::metadata(&lock_path)
                .is_ok_and(|there| lock.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
            if !kept {
                continue;
            }
            let path = parent.join(name);
            private(&path)?;
            return Ok(Self {
                path,
                lock_path,
                _lock: lock,
            });
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A directory that its owner alone may read: what is spilled are rows of tables.
fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Drop for SpillDirectory {
    fn drop(&mut self) {
        let removed =
            fs::remove_dir_all(&self.path).and_then(|()| fs::remove_file(&self.lock_path));
        if let Err(error) = removed {
            debug!(path = %self.path.display(), %error, "left for the next start");
        }
    }
}

/// A name that starts with the process id, for operators. The rest differs between containers,
/// where processes have the same id.
fn unique_name() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", std::process::id(), &id[..12])
}

/// Removes the directories whose processes are gone.
fn clean(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == LOCK)
            && let Err(error) = remove_if_abandoned(&path)
        {
            debug!(path = %path.display(), %error, "could not clean");
        }
    }
}

fn remove_if_abandoned(lock_path: &Path) -> io::Result<()> {
    let lock = File::open(lock_path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let directory = lock_path.with_extension("");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
        info!(path = %directory.display(), "removed what a killed process had spilled");
    }
    fs::remove_file(lock_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let entries = fs::read_dir(parent).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn directory_of_killed_process_is_removed_and_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().join("spill");
        let ours = SpillDirectory::below(&parent).unwrap();
        fs::write(ours.path().join("file"), "rows").unwrap();
        let killed = parent.join("1-abcdef012345");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join("file"), "rows").unwrap();
        fs::write(killed.with_extension(LOCK), "").unwrap();
        fs::create_dir(parent.join("of-another-program")).unwrap();

        let other = SpillDirectory::below(&parent).unwrap();
        assert!(!killed.exists() && !killed.with_extension(LOCK).exists());
        assert!(ours.path().join("file").exists() && other.path().exists());
        drop((ours, other));
        assert_eq!(names(&parent), ["of-another-program"]);
    }

    #[test]
    fn first_writable_parent_is_used() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let second = parent.path().join("second");
        let found = SpillDirectory::first_of(&[file.clone(), second.clone()]).unwrap();
        assert!(found.path().starts_with(&second));
        assert!(SpillDirectory::first_of(&[file]).is_none());
    }
}
