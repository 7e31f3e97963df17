//! A place on a store: where a table, an export directory or one file lies.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use url::Url;

use super::temporary::{StoredFile, is_absent};
use crate::error::Error;

/// How often a file is written while others remove what is about to become it.
const REPLACE_TRIES: usize = 5;

/// A directory or file on a store, with the address people know it by.
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

    /// The place `name` directly below this one.
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

    /// The directory that this place is in; the root is in itself.
    fn parent(&self) -> Self {
        let mut parent = self.clone();
        if let Ok(mut segments) = parent.url.path_segments_mut() {
            segments.pop_if_empty().pop();
        }
        let above = self.path.parts().count().saturating_sub(1);
        parent.path = self.path.parts().take(above).collect();
        parent
    }

    /// Scheme and authority: what a DataFusion session knows the store by.
    pub(super) fn store_url(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.url.authority())
    }

    /// How people write `path` of this store: a plain path on the local file system, else a URL.
    pub fn address_of(&self, path: &Path) -> String {
        match self.url.scheme() {
            "file" => format!("/{path}"),
            scheme => format!("{scheme}://{}/{path}", self.url.authority()),
        }
    }

    /// All files below this place, with their sizes; empty when it does not exist.
    pub async fn list(&self) -> Result<Vec<ObjectMeta>, Error> {
        self.store
            .list(Some(&self.path))
            .try_collect()
            .await
            .map_err(|source| self.failed("list", source))
    }

    /// Whether there is a log of a table here. A writer that was killed at the first entry leaves a
    /// temporary file, `.NAME.tmp.N` on HDFS and `NAME#N` on a local disk, which is none.
    pub(super) async fn is_log(&self) -> Result<bool, Error> {
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

    /// Names of the directories directly below this place, in order.
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

    /// Whether there is a file or a directory here.
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

    /// What the store knows of the file here, or `None` when there is none.
    pub async fn head(&self) -> Result<Option<ObjectMeta>, Error> {
        match self.store.head(&self.path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed("look up", source)),
        }
    }

    /// Publishes `content` here whole: written aside, then renamed over what was here before.
    ///
    /// Then temporary files of this name go that were there before: killed writers left them. One may
    /// belong to a writer that still runs. That one's rename fails, and it writes again: what is here
    /// is the whole content of the one or the other, as it is when nobody is disturbed.
    pub async fn replace(&self, content: Bytes) -> Result<(), Error> {
        let left_behind = self.temporaries().await?;
        let mut tries = 0;
        let written = loop {
            tries += 1;
            match self.store.put(&self.path, content.clone().into()).await {
                Err(source) if is_absent(&source) && tries < REPLACE_TRIES => {}
                written => break written,
            }
        };
        written.map_err(|source| self.failed("write", source))?;
        self.remove(left_behind).await?;
        Ok(())
    }

    /// Files that were to be renamed to the one here.
    async fn temporaries(&self) -> Result<Vec<StoredFile>, Error> {
        let directory = self.parent();
        let mut files = directory.list_with_temporaries().await?;
        files.retain(|file| {
            let is_beside = file.path.parts().count() == self.path.parts().count();
            is_beside && file.temporary_for() == self.path.filename()
        });
        Ok(files)
    }

    /// Publishes `content` here unless exactly that is here already.
    pub async fn replace_if_changed(&self, content: Bytes) -> Result<(), Error> {
        if let Some(present) = self.head().await?
            && present.size == content.len() as u64
            && self.read().await? == content
        {
            return Ok(());
        }
        self.replace(content).await
    }

    /// The whole content of the file here.
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
