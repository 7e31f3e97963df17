//! The storage below the lake: HDFS or a local directory, behind one type with a task, a time limit
//! and counters around every call. Only this module opens stores.

mod failure;
mod file_point;
mod guard;
mod hdfs;
mod location;
mod replace;
mod temporary;
mod unnamed;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdfs_native::ClientBuilder;
use object_store::DynObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

pub use self::failure::Failure;
use self::failure::{Attempt, absolute};
use self::guard::{Guard, in_task};
use self::hdfs::Hdfs;
pub use self::location::Location;
pub(crate) use self::location::is_absent;
pub use self::temporary::RemovedFiles;
pub(crate) use self::temporary::{StoredFile, final_name};
use crate::error::Error;

/// Options of all stores of the process.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// HDFS user for error messages; hdfs-native takes the user from `HADOOP_USER_NAME`.
    pub user: String,
    /// Time limit of one call. A transfer has additional time in proportion to its size.
    pub limit: Duration,
}

/// The stores of the process, one for each scheme and authority, opened on first use.
#[derive(Debug)]
pub struct Stores {
    options: StoreOptions,
    counters: Arc<Counters>,
    open: Mutex<HashMap<String, Arc<DynObjectStore>>>,
}

/// Counters of storage calls and bytes since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls of the storage; on HDFS each makes one or two calls of the NameNode.
    pub calls: Counter,
    /// Calls that failed or exceeded their time limit.
    pub failures: Counter,
    /// Bytes that calls returned.
    pub bytes_read: Counter,
    /// Bytes that calls were given to write, successful or not.
    pub bytes_written: Counter,
}

/// A counter that only increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The properties of a store that a guarded call needs.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    server: String,
    user: String,
    limit: Duration,
    counters: Arc<Counters>,
    is_local: bool,
}

impl Context {
    fn attempt(&self, operation: &'static str, path: String) -> Attempt {
        Attempt {
            server: self.server.clone(),
            user: self.user.clone(),
            operation,
            path,
        }
    }

    /// Runs `call` in its own task, within `limit`.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &Path,
        limit: Duration,
        call: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> object_store::Result<T> {
        self.counters.calls.add(1);
        let outcome = match in_task(tokio::time::timeout(limit, call)).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(error))) => self.attempt(operation, absolute(path)).failed(error),
            Ok(Err(_elapsed)) => self.attempt(operation, absolute(path)).timed_out(limit),
            Err(panicked) => panicked.into(),
        };
        self.counters.failures.add(1);
        Err(outcome)
    }
}

impl Stores {
    pub fn new(options: StoreOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            counters: Arc::default(),
            open: Mutex::default(),
        })
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The location of `url`, on its store.
    ///
    /// # Errors
    /// When the scheme is neither `hdfs` nor `file`, or the URL is not a usable address.
    pub fn locate(&self, url: &Url) -> Result<Location, Error> {
        let path = Path::from_url_path(url.path()).map_err(|source| Error::OpenStore {
            url: url.clone(),
            source: source.into(),
        })?;
        Ok(Location::new(self.store(url)?, url.clone(), path))
    }

    fn store(&self, url: &Url) -> Result<Arc<DynObjectStore>, Error> {
        let key = format!("{}://{}", url.scheme(), url.authority());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&key) {
            return Ok(Arc::clone(store));
        }
        let store = self.connect(url, &key)?;
        open.insert(key, Arc::clone(&store));
        Ok(store)
    }

    fn connect(&self, url: &Url, key: &str) -> Result<Arc<DynObjectStore>, Error> {
        let context = Context {
            server: match url.scheme() {
                "hdfs" => format!("HDFS at {}", url.authority()),
                _ => "the local file system".to_owned(),
            },
            user: self.options.user.clone(),
            limit: self.options.limit,
            counters: Arc::clone(&self.counters),
            is_local: url.scheme() == "file",
        };
        match url.scheme() {
            "hdfs" => {
                let client = ClientBuilder::new().with_url(key).build();
                let client = client.map_err(|source| Error::OpenStore {
                    url: url.clone(),
                    source: hdfs::failed(source),
                })?;
                Ok(Arc::new(Guard::new(Hdfs::new(client), context)))
            }
            "file" => Ok(Arc::new(Guard::new(LocalFileSystem::new(), context))),
            _ => Err(Error::UnknownScheme { url: url.clone() }),
        }
    }
}
