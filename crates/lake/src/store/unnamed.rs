//! Files whose names are no valid paths, such as names with a line feed or invalid UTF-8, which
//! other tools may create. Without this module one such file would end every listing of its
//! directory: that of a landing that watches it, or of an export.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error, ListResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, Result};
use tracing::warn;

/// How many such files are warned about; a watched directory is listed repeatedly.
const WARNINGS_MAX: usize = 1000;

/// Leaves such files out of listings, with one warning for each. Clones share the warnings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unnamed(Arc<Mutex<HashSet<String>>>);

/// A listing in progress.
struct Listing<S> {
    unnamed: Unnamed,
    store: Arc<S>,
    prefix: Path,
    found: BoxStream<'static, Result<ObjectMeta>>,
    /// Files listed so far, for a local store, whose own listing ends at the first such name.
    before: Option<HashSet<Path>>,
}

impl Unnamed {
    /// The files of `found`, a listing of `prefix`, without such files. The listing of a local
    /// store (`is_local`) ends at the first of them, and the directory itself is read for the rest.
    pub(crate) fn pass_over<S: ObjectStore>(
        &self,
        found: BoxStream<'static, Result<ObjectMeta>>,
        store: &Arc<S>,
        prefix: Option<&Path>,
        is_local: bool,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listing = Listing {
            unnamed: self.clone(),
            store: Arc::clone(store),
            prefix: prefix.cloned().unwrap_or_default(),
            found,
            before: is_local.then(HashSet::new),
        };
        futures::stream::unfold(listing, Listing::next).boxed()
    }

    fn warn_once(&self, name: &str) {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < WARNINGS_MAX && warned.insert(name.to_owned()) {
            warn!(
                file = name,
                "its name cannot be a path on a store; it is left out"
            );
        }
    }

    /// All files below a directory of this machine that paths can name.
    fn walk(&self, directory: &Path, into: &mut Vec<Path>) {
        // The directory was removed in the meantime.
        let Ok(entries) = std::fs::read_dir(PathBuf::from(format!("/{directory}"))) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let path = name.to_str().map(|name| format!("{directory}/{name}"));
            let Some(path) = path.and_then(|path| Path::parse(path).ok()) else {
                self.warn_once(&format!("{:?}", entry.path()));
                continue;
            };
            match std::fs::metadata(entry.path()) {
                Ok(about) if about.is_dir() => self.walk(&path, into),
                Ok(_) if !is_temporary(&path) => into.push(path),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

impl<S: ObjectStore> Listing<S> {
    async fn next(mut self) -> Option<(Result<ObjectMeta>, Self)> {
        loop {
            match self.found.next().await? {
                Err(Error::InvalidPath { source }) => match self.before.take() {
                    Some(before) => {
                        let (unnamed, store) = (self.unnamed.clone(), Arc::clone(&self.store));
                        self.found = rest(unnamed, store, self.prefix.clone(), before).await;
                    }
                    None => self.unnamed.warn_once(&source.to_string()),
                },
                found => {
                    if let (Ok(file), Some(before)) = (&found, &mut self.before) {
                        before.insert(file.location.clone());
                    }
                    return Some((found, self));
                }
            }
        }
    }
}

/// The files of the directory that are not in `before`.
async fn rest<S: ObjectStore>(
    unnamed: Unnamed,
    store: Arc<S>,
    prefix: Path,
    before: HashSet<Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let walked = tokio::task::spawn_blocking(move || {
        let mut paths = Vec::new();
        unnamed.walk(&prefix, &mut paths);
        paths
    });
    let mut paths = walked.await.unwrap_or_default();
    paths.retain(|path| !before.contains(path));
    futures::stream::iter(paths)
        .then(move |path| {
            let store = Arc::clone(&store);
            async move { store.head(&path).await }
        })
        .filter(|found| {
            let is_there = !matches!(found, Err(Error::NotFound { .. }));
            std::future::ready(is_there)
        })
        .boxed()
}

/// Whether it is a temporary file, which the local store leaves out of listings.
fn is_temporary(path: &Path) -> bool {
    let name = path.filename().unwrap_or_default();
    name.split_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Derives the listing of one directory from a listing of everything below it. Directories without
/// a file are missing.
pub(crate) async fn of_directory(
    everything: BoxStream<'static, Result<ObjectMeta>>,
    prefix: Option<&Path>,
) -> Result<ListResult> {
    let prefix = prefix.cloned().unwrap_or_default();
    let everything: Vec<ObjectMeta> = everything.try_collect().await?;
    let (mut directories, mut objects) = (BTreeSet::new(), Vec::new());
    for file in everything {
        let directory = file.location.prefix_match(&prefix).and_then(|mut parts| {
            let first = parts.next()?.as_ref().to_owned();
            parts.next().map(|_| first)
        });
        match directory {
            Some(name) => {
                directories.insert(prefix.clone().join(name));
            }
            None => objects.push(file),
        }
    }
    Ok(ListResult {
        common_prefixes: directories.into_iter().collect(),
        objects,
    })
}
