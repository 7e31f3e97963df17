//! Temporary files: a store writes every file under a temporary name and renames it. The file of a
//! writer that is killed between the two steps remains.
//!
//! On HDFS the temporary name is `.NAME.tmp.N`, and every listing shows it. On a local disk it is
//! `NAME#N`, and `object_store` neither lists nor deletes such a file: this module alone reads the
//! directory itself. The callers decide which of these files are deleted.

use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::location::{Location, is_absent};
use crate::error::Error;

/// Files that are removed concurrently.
const REMOVE_CONCURRENCY: usize = 10;

/// Which files were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedFiles {
    /// Number of files.
    pub files: usize,
    /// Their total size in bytes.
    pub bytes: u64,
}

/// A file on the store, temporary or not.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile {
    /// Path on the store.
    pub(crate) path: Path,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Whether the store leaves the file out of its listings.
    hidden: bool,
}

/// The name that the temporary file `name` is renamed to; `None` when `name` is no temporary name.
pub(crate) fn final_name(name: &str) -> Option<&str> {
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

impl StoredFile {
    pub(crate) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// The name that this file is renamed to, if it is a temporary one.
    pub(crate) fn temporary_for(&self) -> Option<&str> {
        final_name(self.name())
    }
}

impl Location {
    /// All files below this location, temporary ones included; empty when it does not exist.
    pub(crate) async fn list_with_temporaries(&self) -> Result<Vec<StoredFile>, Error> {
        // Ask the guarded store first: its time limit ends the call when the file system hangs.
        let listed = self.list().await?.into_iter().map(|file| StoredFile {
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

    /// Removes `files`. A file that another process has removed in between is skipped.
    pub(crate) async fn remove(&self, files: Vec<StoredFile>) -> Result<RemovedFiles, Error> {
        futures::stream::iter(files)
            .map(|file| self.remove_one(file))
            .buffer_unordered(REMOVE_CONCURRENCY)
            .try_fold(RemovedFiles::default(), |sum, one| async move {
                Ok(RemovedFiles {
                    files: sum.files + one.files,
                    bytes: sum.bytes + one.bytes,
                })
            })
            .await
    }

    async fn remove_one(&self, file: StoredFile) -> Result<RemovedFiles, Error> {
        let removed = if file.hidden {
            let on_disk = on_disk(&file.path);
            blocking(move || fs::remove_file(on_disk)).await
        } else {
            self.store().delete(&file.path).await
        };
        match removed {
            Ok(()) => Ok(RemovedFiles {
                files: 1,
                bytes: file.size,
            }),
            Err(source) if is_absent(&source) => Ok(RemovedFiles::default()),
            Err(source) => Err(self.failed("remove leftover files from", source)),
        }
    }
}

/// Temporary files below `directory`, which the local store leaves out of listings.
fn hidden_below(directory: &FilePath) -> io::Result<Vec<StoredFile>> {
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

fn hidden(entry: &fs::DirEntry) -> io::Result<Option<StoredFile>> {
    let is_hidden = |name: &str| name.contains('#') && final_name(name).is_some();
    if !entry.file_name().to_str().is_some_and(is_hidden) {
        return Ok(None);
    }
    // The store gives its temporary files names that are valid paths; other names are not its own.
    let Ok(path) = Path::from_absolute_path(entry.path()) else {
        return Ok(None);
    };
    match entry.metadata() {
        Ok(metadata) => Ok(Some(StoredFile {
            path,
            size: metadata.len(),
            hidden: true,
        })),
        // Its writer has renamed the file since the directory was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn on_disk(path: &Path) -> PathBuf {
    FilePath::new("/").join(path.as_ref())
}

/// Runs a blocking `call` of the file system on the blocking thread pool.
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
    use super::final_name;

    #[test]
    fn temporary_name_yields_the_final_name() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(final_name(name), expected, "{name}");
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
