//! What the statements of one process share: memory, threads, the disk that they spill to, and the
//! caches of files.
//!
//! A process makes one [`Runtime`] from its configuration and gives it to each session that it
//! opens, so that two sessions share one pool of memory instead of holding one each. It does not
//! run statements.

mod machine;
mod memory_watchdog;
mod pool;
mod spill;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::object_store::DefaultObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use settings::ByteSize;
use tokio::runtime::Handle;

use crate::column_cache::ColumnCache;
use crate::error::Error;
use crate::estimate::StatementSize;
use memory_watchdog::MemoryWatchdog;
pub use memory_watchdog::WatchedStatement;
use pool::StatementPool;
use spill::SpillDirectory;

/// Most pairs that one join of a person or a client may compare, by estimate, unless the
/// configuration says otherwise.
pub const JOIN_PAIRS_MAX: u64 = 100_000_000_000;

/// Memory for the footers of data files, at least: those of a lake with a few thousand files.
const METADATA_CACHE_MIN: u64 = 256 << 20;
/// Checks for memory before a new statement is refused.
const MEMORY_CHECKS: u32 = 40;
/// Interval of those checks.
const MEMORY_INTERVAL: Duration = Duration::from_millis(50);
/// A debug build plans with several times the stack of a release build.
const STACK_BYTES: usize = 16 << 20;

/// How large a runtime is. What is not set is sized from the machine.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Bytes that statements hold together before they spill or are refused.
    pub memory: Option<u64>,
    /// Bytes of the process above which it takes no new statement, and ends the one that holds
    /// most.
    pub resident_max: Option<u64>,
    /// Bytes of decoded columns that are kept for the next statement; zero keeps none.
    pub column_cache: Option<u64>,
    pub threads: Option<usize>,
    pub spill: SpillPath,
    pub spill_max: u64,
}

/// The directory that statements spill to.
#[derive(Debug, Clone)]
pub enum SpillPath {
    /// In this directory and nowhere else.
    At(PathBuf),
    /// In the first of these that can be written to; without any, what does not fit into memory is
    /// refused.
    FirstOf(Vec<PathBuf>),
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            memory: None,
            resident_max: None,
            column_cache: None,
            threads: None,
            spill: SpillPath::FirstOf(vec![std::env::temp_dir().join("isobar-spill")]),
            spill_max: 100 << 30,
        }
    }
}

/// The threads that the statements of a service compute on.
///
/// DataFusion sorts and writes out millions of rows in one step of a second and more. Small
/// statements have threads of their own, so that the system's scheduler gives them their turns
/// while large ones take such steps.
#[derive(Debug)]
pub struct QueryThreads {
    small: tokio::runtime::Runtime,
    large: tokio::runtime::Runtime,
}

/// Where statements are started.
#[derive(Clone, Debug)]
pub struct QueryHandles {
    pub small: Handle,
    pub large: Handle,
}

impl QueryHandles {
    /// Where statements of this size run.
    pub fn of(&self, size: StatementSize) -> &Handle {
        match size {
            StatementSize::Small => &self.small,
            StatementSize::Large => &self.large,
        }
    }
}

impl QueryThreads {
    pub fn handles(&self) -> QueryHandles {
        QueryHandles {
            small: self.small.handle().clone(),
            large: self.large.handle().clone(),
        }
    }

    /// Waits for no statement: one that was cancelled may compute until the process ends.
    pub fn shutdown_background(self) {
        self.small.shutdown_background();
        self.large.shutdown_background();
    }
}

/// The shared resources of all statements of a process.
#[derive(Debug)]
pub struct Runtime {
    environment: RuntimeEnv,
    threads: usize,
    resident_max: u64,
    column_cache: Arc<ColumnCache>,
    watchdog: Arc<MemoryWatchdog>,
    /// Holds the lock on the directory; dropped last, it removes what is left there.
    _spill: Option<SpillDirectory>,
}

impl Runtime {
    /// Sizes a runtime, and removes what killed processes left in its spill directory.
    ///
    /// # Errors
    /// When the spill directory cannot be written to.
    pub fn new(options: &RuntimeOptions) -> Result<Arc<Self>, Error> {
        let machine = machine::memory();
        let memory = options.memory.unwrap_or(machine / 5 * 2);
        let resident_max = options
            .resident_max
            .unwrap_or_else(|| (memory / 4 * 5 + (512 << 20)).min(machine / 5 * 4));
        let threads = options
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from));
        let spill = match &options.spill {
            SpillPath::At(path) => Some(SpillDirectory::below(path)?),
            SpillPath::FirstOf(paths) => SpillDirectory::first_of(paths),
        };
        let mode = spill
            .as_ref()
            .map_or(DiskManagerMode::Disabled, |directory| {
                DiskManagerMode::Directories(vec![directory.path().to_owned()])
            });
        let disk = DiskManagerBuilder::default()
            .with_mode(mode)
            .with_max_temp_directory_size(options.spill_max);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(StatementPool::new(in_memory(memory))))
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(in_memory(METADATA_CACHE_MIN.max(machine / 20)))
            .build()
            .map_err(Error::plan)?;
        let column_cache = options.column_cache.unwrap_or(memory / 8);
        let column_cache = Arc::new(ColumnCache::new(column_cache));
        let watchdog = MemoryWatchdog::start(resident_max, &column_cache);
        let watchdog = watchdog.map_err(Error::Threads)?;
        Ok(Arc::new(Self {
            environment,
            threads: threads.unwrap_or(1),
            resident_max,
            column_cache,
            watchdog,
            _spill: spill,
        }))
    }

    /// The environment of one session: memory, disk and caches are those of the process, the stores
    /// are its own.
    pub(crate) fn environment(&self) -> Result<Arc<RuntimeEnv>, Error> {
        RuntimeEnvBuilder::from_runtime_env(&self.environment)
            .with_object_store_registry(Arc::new(DefaultObjectStoreRegistry::default()))
            .build_arc()
            .map_err(Error::plan)
    }

    pub(crate) fn column_cache(&self) -> &Arc<ColumnCache> {
        &self.column_cache
    }

    /// Threads that one statement computes on.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Starts the threads that the statements of a service compute on.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start_threads(&self) -> std::io::Result<QueryThreads> {
        Ok(QueryThreads {
            small: self.start("small query")?,
            large: self.start("query")?,
        })
    }

    fn start(&self, name: &str) -> std::io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.threads)
            .thread_name(name)
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
    }

    /// Begins to count the memory of a statement. The watchdog ends it if it holds most while the
    /// process exceeds its limit.
    pub fn watch_statement(&self) -> WatchedStatement {
        self.watchdog.watch()
    }

    /// Runs a statement to its end, or until the watchdog ends it.
    ///
    /// # Errors
    /// Those of `work`, and [`Error::StatementMemory`].
    pub async fn watched<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let statement = self.watch_statement();
        tokio::select! {
            biased;
            exceeded = statement.exceeded() => Err(exceeded),
            done = statement.count(work) => done,
        }
    }

    /// Waits up to two seconds for memory, since the watchdog may be ending a statement, before it
    /// refuses a new one.
    ///
    /// # Errors
    /// See [`Runtime::require_memory`].
    pub async fn wait_for_memory(self: &Arc<Self>) -> Result<(), Error> {
        for _ in 1..MEMORY_CHECKS {
            if self.require_memory_on_blocking_thread().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(MEMORY_INTERVAL).await;
        }
        self.require_memory_on_blocking_thread().await
    }

    /// [`Runtime::require_memory`] on a blocking thread where pages go back to the system: GiB of
    /// them take a while.
    async fn require_memory_on_blocking_thread(self: &Arc<Self>) -> Result<(), Error> {
        if machine::resident().is_none_or(|resident| resident <= self.resident_max) {
            return Ok(());
        }
        let runtime = Arc::clone(self);
        let required = tokio::task::spawn_blocking(move || runtime.require_memory()).await;
        required.unwrap_or_else(|_panic| self.require_memory())
    }

    /// Refuses a new statement while the process holds more memory than it may. What DataFusion's
    /// pool does not count (plans, values of a running function, messages on their way) is counted
    /// here.
    ///
    /// # Errors
    /// When the process holds more than `query.resident_max`.
    pub fn require_memory(&self) -> Result<(), Error> {
        match machine::resident_above(self.resident_max, &self.column_cache) {
            Some(resident) => Err(Error::MemoryFull {
                resident: ByteSize(resident >> 20 << 20),
                limit: ByteSize(self.resident_max),
            }),
            None => Ok(()),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.watchdog.stop();
    }
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_above_resident_limit_is_refused() {
        let options = |resident_max| RuntimeOptions {
            resident_max: Some(resident_max),
            spill: SpillPath::FirstOf(Vec::new()),
            ..RuntimeOptions::default()
        };
        let open = Runtime::new(&options(1 << 50)).unwrap();
        assert!(open.require_memory().is_ok());
        let full = Runtime::new(&options(1 << 20)).unwrap();
        let refusal = full.require_memory().unwrap_err().to_string();
        assert!(refusal.contains("query.resident_max"), "{refusal}");
    }

    #[test]
    fn sessions_share_memory_and_not_stores() {
        let runtime = Runtime::new(&RuntimeOptions {
            spill: SpillPath::FirstOf(Vec::new()),
            ..RuntimeOptions::default()
        })
        .unwrap();
        let (one, other) = (
            runtime.environment().unwrap(),
            runtime.environment().unwrap(),
        );
        assert!(Arc::ptr_eq(&one.memory_pool, &other.memory_pool));
        assert!(!Arc::ptr_eq(
            &one.object_store_registry,
            &other.object_store_registry
        ));
        assert!(one.cache_manager.get_metadata_cache_limit() >= 256 << 20);
    }
}
