//! A location on a store: of a table, an export directory or one file.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use url::Url;

use crate::error::Error;

/// A directory or file on a store, with its URL.
#[derive(Clone, Debug)]
pub struct Location {
    store: Arc<DynObjectStore>,
    url: Url,
    path: Path,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address_of(&self.path))
    }
}

impl Location {
    pub(crate) fn new(store: Arc<DynObjectStore>, url: Url, path: Path) -> Self {
        Self { store, url, path }
    }

    pub fn store(&self) -> &Arc<DynObjectStore> {
        &self.store
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The location `name` directly below this one.
    pub fn join(&self, name: &str) -> Self {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(name);
        }
        Self {
            store: Arc::clone(&self.store),
            url,
            path: self.path.clone().join(name),
        }
    }

    /// The directory of this location; that of the root is the root.
    pub(crate) fn parent(&self) -> Self {
        let mut parent = self.clone();
        if let Ok(mut segments) = parent.url.path_segments_mut() {
            segments.pop_if_empty().pop();
        }
        let above = self.path.parts().count().saturating_sub(1);
        parent.path = self.path.parts().take(above).collect();
        parent
    }

    /// Scheme and authority, under which a DataFusion session registers the store.
    pub fn store_url(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.url.authority())
    }

    /// `path` of this store as users write it: a plain path on the local file system, else a URL.
    pub fn address_of(&self, path: &Path) -> String {
        match self.url.scheme() {
            "file" => format!("/{path}"),
            scheme => format!("{scheme}://{}/{path}", self.url.authority()),
        }
    }

    /// All files below this location, with their sizes; empty when it does not exist.
    pub async fn list(&self) -> Result<Vec<ObjectMeta>, Error> {
        self.store
            .list(Some(&self.path))
            .try_collect()
            .await
            .map_err(|source| self.failed("list", source))
    }

    /// Whether this directory is the log of a table. A temporary file alone, which a writer leaves
    /// that is killed at the first entry (`.NAME.tmp.N` on HDFS, `NAME#N` on a local disk), does
    /// not count.
    pub(crate) async fn is_log(&self) -> Result<bool, Error> {
        let is_entry = |file: &ObjectMeta| {
            let name = file.location.filename().unwrap_or_default();
            !name.starts_with('.') && (name.ends_with(".json") || name.ends_with(".parquet"))
        };
        let mut entries = self
            .store
            .list(Some(&self.path))
            .try_filter(|file| std::future::ready(is_entry(file)));
        let first = entries.try_next().await;
        Ok(first
            .map_err(|source| self.failed("list", source))?
            .is_some())
    }

    /// Names of the directories directly below this location, in order.
    pub async fn directories(&self) -> Result<Vec<String>, Error> {
        let listing = self
            .store
            .list_with_delimiter(Some(&self.path))
            .await
            .map_err(|source| self.failed("list", source))?;
        let mut names: Vec<String> = listing
            .common_prefixes
            .iter()
            .filter_map(|prefix| prefix.filename().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Whether a file or a directory exists at this location.
    pub async fn exists(&self) -> Result<bool, Error> {
        let Some(name) = self.path.filename() else {
            return Ok(true);
        };
        let listing = self
            .store
            .list_with_delimiter(Some(&self.parent().path))
            .await
            .map_err(|source| self.failed("look for", source))?;
        let directories = listing.common_prefixes.iter();
        let files = listing.objects.iter().map(|file| &file.location);
        Ok(directories
            .chain(files)
            .any(|found| found.filename() == Some(name)))
    }

    /// Size and modification time of the file at this location; `None` without a file.
    pub async fn head(&self) -> Result<Option<ObjectMeta>, Error> {
        match self.store.head(&self.path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed("look up", source)),
        }
    }

    /// The whole content of the file at this location.
    pub async fn read(&self) -> Result<Bytes, Error> {
        let read = async { self.store.get(&self.path).await?.bytes().await };
        read.await.map_err(|source| self.failed("read", source))
    }

    pub(crate) fn failed(&self, attempt: &'static str, source: object_store::Error) -> Error {
        Error::Storage {
            attempt,
            location: self.to_string(),
            source,
        }
    }
}

/// Whether a call failed because the file was absent. Stores report that in several ways.
pub(crate) fn is_absent(error: &object_store::Error) -> bool {
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
