//! Temporary files: a store writes every file aside and renames it, and what a writer that is killed in
//! between has written stays.
//!
//! On HDFS it is called `.NAME.tmp.N`, and every listing has it. On a local disk it is called `NAME#N`, and
//! `object_store` neither lists such a file nor deletes it: here, and nowhere else, we look at the
//! directory itself. Which of these files may go is not decided here.

use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::location::Location;
use super::sweep::Swept;
use crate::error::Error;

/// Files that are removed side by side.
const REMOVE_CONCURRENCY: usize = 10;

/// A file as it lies on the store, temporary or not.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) path: Path,
    pub(super) size: u64,
    /// Whether the store itself does not admit that the file is there.
    hidden: bool,
}

/// The name that a temporary file was to get; `None` for a file that is none.
pub(super) fn name_of(name: &str) -> Option<&str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((of, number)) = name
        .strip_prefix('.')
        .and_then(|rest| rest.rsplit_once(".tmp."))
        && digits(number)
    {
        return Some(of);
    }
    let (of, number) = name.split_once('#')?;
    digits(number).then_some(of)
}

impl Stored {
    pub(super) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// The name that this file was to get, if it is a temporary one.
    pub(super) fn temporary_of(&self) -> Option<&str> {
        name_of(self.name())
    }
}

impl Location {
    /// All files below this place with the temporary ones; empty when it does not exist.
    pub(super) async fn list_with_temporaries(&self) -> Result<Vec<Stored>, Error> {
        // Through the store first: its time limit tells whether anything answers there at all.
        let listed = self.list().await?.into_iter().map(|file| Stored {
            path: file.location,
            size: file.size,
            hidden: false,
        });
        let mut found: Vec<_> = listed.collect();
        if self.url().scheme() == "file" {
            let directory = on_disk(self.path());
            let hidden = blocking(move || hidden_below(&directory)).await;
            found.extend(hidden.map_err(|source| self.failed("list", source))?);
        }
        Ok(found)
    }

    /// Removes `files`. One that somebody else has removed meanwhile is done as well.
    pub(super) async fn remove(&self, files: Vec<Stored>) -> Result<Swept, Error> {
        futures::stream::iter(files)
            .map(|file| self.remove_one(file))
            .buffer_unordered(REMOVE_CONCURRENCY)
            .try_fold(Swept::default(), |sum, one| async move {
                Ok(Swept {
                    files: sum.files + one.files,
                    bytes: sum.bytes + one.bytes,
                })
            })
            .await
    }

    async fn remove_one(&self, file: Stored) -> Result<Swept, Error> {
        let removed = if file.hidden {
            let on_disk = on_disk(&file.path);
            blocking(move || fs::remove_file(on_disk)).await
        } else {
            self.store().delete(&file.path).await
        };
        match removed {
            Ok(()) => Ok(Swept {
                files: 1,
                bytes: file.size,
            }),
            Err(source) if is_absent(&source) => Ok(Swept::default()),
            Err(source) => Err(self.failed("remove leftover files from", source)),
        }
    }
}

/// Whether a call failed because a file was not there, which stores say in several ways.
pub(super) fn is_absent(error: &object_store::Error) -> bool {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return true;
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::NotFound;
        }
        next = error.source();
    }
    false
}

/// Temporary files below `directory`, which the store hides.
fn hidden_below(directory: &FilePath) -> io::Result<Vec<Stored>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if let Some(file) = hidden(&entry)? {
                found.push(file);
            }
        }
    }
    Ok(found)
}

fn hidden(entry: &fs::DirEntry) -> io::Result<Option<Stored>> {
    let is_hidden = |name: &str| name.contains('#') && name_of(name).is_some();
    if !entry.file_name().to_str().is_some_and(is_hidden) {
        return Ok(None);
    }
    // A name that no path of a store can have is none that a store has given.
    let Ok(path) = Path::from_absolute_path(entry.path()) else {
        return Ok(None);
    };
    match entry.metadata() {
        Ok(metadata) => Ok(Some(Stored {
            path,
            size: metadata.len(),
            hidden: true,
        })),
        // Renamed since: its writer lives.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn on_disk(path: &Path) -> PathBuf {
    FilePath::new("/").join(path.as_ref())
}

/// Runs `call` of the file system where blocking is fine.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> object_store::Result<T> {
    let done = tokio::task::spawn_blocking(call).await?;
    done.map_err(|source| object_store::Error::Generic {
        store: "LocalFileSystem",
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn temporary_files_are_told_by_their_names() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(name_of(name), expected, "{name}");
        check(".part-1.zstd.parquet.tmp.1", Some("part-1.zstd.parquet"));
        check(
            ".00000000000000000007.json.tmp.12",
            Some("00000000000000000007.json"),
        );
        check("._last_checkpoint.tmp.1", Some("_last_checkpoint"));
        check("part-1.zstd.parquet#3", Some("part-1.zstd.parquet"));
        check("part-1.zstd.parquet", None);
        check(".part.tmp.x", None);
        check("part#x", None);
    }
}
