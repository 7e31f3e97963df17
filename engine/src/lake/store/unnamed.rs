//! Files that a store holds and no path can name: others call them as they like, with a line feed or in no UTF-8. Without this
//! one of them would be the end of every listing of its directory: of a landing that watches it, of an export beside it.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error, ListResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, Result};
use tracing::warn;

/// So many are told of; a directory is looked at again and again.
const TOLD_MAX: usize = 1000;

/// Leaves them out of listings, with a warning the first time. Clones share what was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Unnamed(Arc<Mutex<HashSet<String>>>);

/// A listing on its way.
struct Listing<S> {
    unnamed: Unnamed,
    store: Arc<S>,
    prefix: Path,
    found: BoxStream<'static, Result<ObjectMeta>>,
    /// The store's own listing ends at the first such name: what was found before it.
    before: Option<HashSet<Path>>,
}

impl Unnamed {
    /// The files of `found`, a listing of `prefix`. Where the store is the local file system, which lists nothing behind such a
    /// file, `is_local`, the rest is found by looking at the directory itself.
    pub(super) fn pass_over<S: ObjectStore>(
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

    fn tell(&self, name: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && told.insert(name.to_owned()) {
            warn!(
                file = name,
                "its name cannot be a path on a store; it is left out"
            );
        }
    }

    /// All files below a directory of this machine that paths can name.
    fn walk(&self, directory: &Path, into: &mut Vec<Path>) {
        // Who removes files meanwhile has removed them.
        let Ok(entries) = std::fs::read_dir(PathBuf::from(format!("/{directory}"))) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let path = name.to_str().map(|name| format!("{directory}/{name}"));
            let Some(path) = path.and_then(|path| Path::parse(path).ok()) else {
                self.tell(&format!("{:?}", entry.path()));
                continue;
            };
            match std::fs::metadata(entry.path()) {
                Ok(about) if about.is_dir() => self.walk(&path, into),
                Ok(_) if !is_aside(&path) => into.push(path),
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
                    None => self.unnamed.tell(&source.to_string()),
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

/// What the directory holds besides `before`.
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

/// Whether it is a file that the local file system's store writes aside, and never lists.
fn is_aside(path: &Path) -> bool {
    let name = path.filename().unwrap_or_default();
    name.split_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What a listing of everything below `prefix` says of the directory itself. Directories that hold no file are not seen.
pub(super) async fn of_directory(
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
