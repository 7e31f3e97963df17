//! Columns of data files as decoded, in memory: a statement that reads what an earlier one has read
//! decodes nothing.
//!
//! The unit is one column of one row group. Data files never change, so a cached column is never
//! stale. A column is kept when a second statement asks for it: the first one reads it as without a
//! cache, with all pruning of pages and rows. A column is known by its name: in a later version of
//! the table it may stand at another place.
//!
//! A column that a statement has just used is not evicted, and others are evicted in the order of
//! their hashes. Evicted by their last use, the columns of a scan that is larger than the cache
//! would each go just before the next such scan reads them; so the same part of them stays.

mod decoded;
mod fill;
mod scan;
mod source;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use object_store::path::Path;
use tokio::runtime::Handle;

use decoded::DecodedColumn;
pub(crate) use source::ReadThroughCache;

/// How long a column counts as just used.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// How long no eviction is tried after one that has found too little: each looks at all columns.
const EVICTION_INTERVAL: Duration = Duration::from_millis(200);

/// How many columns that statements have asked for are remembered, and as many before them.
const ASKED_MAX: usize = 100_000;

/// How long a step computes before it yields.
const STEP: Duration = Duration::from_millis(10);

/// Lets other statements have their turns while work waits for nothing.
struct Steps {
    since: Instant,
}

impl Steps {
    fn begin() -> Self {
        let since = Instant::now();
        Self { since }
    }

    /// Yields if the step has taken long, and begins the next one.
    async fn yield_if_long(&mut self) {
        if self.since.elapsed() > STEP {
            tokio::task::yield_now().await;
            *self = Self::begin();
        }
    }
}

/// One version of the bytes of a data file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FileId {
    store: Arc<str>,
    path: Path,
    size: u64,
    modified_ms: i64,
}

/// A column that a scan reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct NeededColumn {
    /// Of a top-level column.
    name: Arc<str>,
    /// In the table. A file may have the column in another type, and is not cached then.
    data_type: DataType,
}

impl NeededColumn {
    fn of(&self, row_group: usize) -> ColumnId {
        let column = self.clone();
        ColumnId { row_group, column }
    }
}

/// One column of one row group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ColumnId {
    row_group: usize,
    column: NeededColumn,
}

/// Where row groups begin in their file, in bytes. A scan of a range of the file reads those that
/// begin in it.
type RowGroupOffsets = Arc<[i64]>;

/// The decoded columns that the statements of a process share.
#[derive(Debug)]
pub(crate) struct ColumnCache {
    /// Bytes that it may hold. Zero keeps nothing.
    limit: u64,
    state: Mutex<State>,
    /// For the columns in [`State::asked`]: their hashes are enough.
    hasher: RandomState,
    statements: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<FileId, CachedFile>,
    bytes: u64,
    /// By the hash of a column that is not cached: which statement was the first to ask for it.
    asked: HashMap<u64, Asked>,
    /// The entries of `asked` before it was full the last time.
    asked_before: HashMap<u64, Asked>,
    /// When an eviction has found too little.
    full_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    By(StatementNumber),
    /// The column is not to be kept, see [`ColumnCache::refuse`].
    Refused,
}

/// Tells statements apart: one may scan a file several times, for ranges of it or in a join with
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StatementNumber(u64);

#[derive(Debug)]
struct CachedFile {
    offsets: RowGroupOffsets,
    columns: HashMap<ColumnId, CachedColumn>,
}

#[derive(Debug)]
struct CachedColumn {
    decoded: Arc<DecodedColumn>,
    used: Instant,
}

impl CachedColumn {
    /// Whether its memory is free once the cache forgets it, but for slices that a statement keeps.
    fn is_unpinned(&self) -> bool {
        Arc::strong_count(&self.decoded) == 1
    }
}

/// What the cache has of the columns that a scan needs of a file.
enum Found {
    /// All of them, a list for each row group.
    All(Vec<Vec<Arc<DecodedColumn>>>),
    /// Not all, and earlier statements have asked for each: they are worth keeping.
    Worthwhile,
    Unknown,
}

/// What [`ColumnCache`] counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnCacheUse {
    /// Held now.
    pub bytes: u64,
    /// Scans of a file that found all their columns.
    pub hits: u64,
    /// Scans of a file that did not.
    pub misses: u64,
}

impl ColumnCache {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            hasher: RandomState::new(),
            statements: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn usage(&self) -> ColumnCacheUse {
        ColumnCacheUse {
            bytes: self.lock().bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// Gives up the memory of all columns that no scan reads now; false if there are none.
    pub(crate) fn clear(&self) -> bool {
        let cleared = self.lock().evict(0, None);
        !cleared.is_empty()
    }

    fn next_statement(&self) -> StatementNumber {
        StatementNumber(self.statements.fetch_add(1, Ordering::Relaxed))
    }

    /// Looks up `columns` of the row groups of `file` that begin in `range`.
    fn find(
        &self,
        file: &FileId,
        range: impl Fn(i64) -> bool,
        columns: &[NeededColumn],
        statement: StatementNumber,
    ) -> Found {
        let mut state = self.lock();
        if let Some(found) = state.all(file, range, columns) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Found::All(found);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let mut is_worthwhile = true;
        for column in columns {
            let asked = state.ask(self.hash_of(file, column), statement);
            is_worthwhile &= matches!(asked, Asked::By(first) if first != statement);
        }
        if is_worthwhile {
            Found::Worthwhile
        } else {
            Found::Unknown
        }
    }

    fn get(
        &self,
        file: &FileId,
        row_group: usize,
        needed: &NeededColumn,
    ) -> Option<Arc<DecodedColumn>> {
        let state = self.lock();
        let column = state.files.get(file)?.columns.get(&needed.of(row_group))?;
        Some(Arc::clone(&column.decoded))
    }

    /// Whether there is room for `bytes` more, after the eviction of columns that no statement has
    /// just used.
    fn make_room(&self, bytes: u64) -> bool {
        let mut evicted = Vec::new();
        let mut state = self.lock();
        if state.bytes + bytes > self.limit && bytes <= self.limit && state.may_evict() {
            // More than is needed, since each eviction looks at all files.
            let target = (self.limit - bytes) / 16 * 15;
            evicted = state.evict(target, Instant::now().checked_sub(KEPT_FOR));
            if state.bytes + bytes > self.limit {
                state.full_since = Some(Instant::now());
            }
        }
        let has_room = state.bytes + bytes <= self.limit;
        drop(state);
        free(evicted);
        has_room
    }

    /// Keeps `columns` of `file` out from now on: the file has none of that type, or they take more
    /// memory than they are worth. So the next statement does not try again.
    fn refuse<'a>(&self, file: &FileId, columns: impl IntoIterator<Item = &'a NeededColumn>) {
        let mut state = self.lock();
        for column in columns {
            let hash = self.hash_of(file, column);
            state.asked.insert(hash, Asked::Refused);
        }
    }

    /// Keeps `decoded` if there is room, and returns the column to read: another statement may have
    /// been faster.
    fn insert(
        &self,
        file: &FileId,
        offsets: &RowGroupOffsets,
        id: ColumnId,
        decoded: Arc<DecodedColumn>,
    ) -> Arc<DecodedColumn> {
        let mut state = self.lock();
        let cached = state.files.get(file);
        if let Some(cached) = cached.and_then(|cached| cached.columns.get(&id)) {
            return Arc::clone(&cached.decoded);
        }
        if state.bytes + decoded.bytes > self.limit {
            return decoded;
        }
        // From now on the memory is the cache's, and not that of the statement that has decoded it.
        allocations::discharge(decoded.bytes);
        state.bytes += decoded.bytes;
        let cached = state.files.entry(file.clone());
        let cached = cached.or_insert_with(|| CachedFile {
            offsets: Arc::clone(offsets),
            columns: HashMap::new(),
        });
        let column = CachedColumn {
            decoded: Arc::clone(&decoded),
            used: Instant::now(),
        };
        cached.columns.insert(id, column);
        decoded
    }

    fn hash_of(&self, file: &FileId, column: &NeededColumn) -> u64 {
        self.hasher.hash_one((file, column))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees columns on another thread: there may be GiB of them, and no statement is to be counted as
/// the one that frees them.
fn free(columns: Vec<CachedColumn>) {
    if columns.is_empty() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn_blocking(move || drop(columns)));
    }
}

impl State {
    fn all(
        &mut self,
        file: &FileId,
        range: impl Fn(i64) -> bool,
        columns: &[NeededColumn],
    ) -> Option<Vec<Vec<Arc<DecodedColumn>>>> {
        let cached = self.files.get_mut(file)?;
        let groups = cached.offsets.iter().enumerate();
        let groups: Vec<usize> = groups
            .filter(|(_, offset)| range(**offset))
            .map(|(group, _)| group)
            .collect();
        let now = Instant::now();
        let mut found = Vec::with_capacity(groups.len());
        for row_group in groups {
            let mut of_group = Vec::with_capacity(columns.len());
            for needed in columns {
                let column = cached.columns.get_mut(&needed.of(row_group))?;
                column.used = now;
                of_group.push(Arc::clone(&column.decoded));
            }
            found.push(of_group);
        }
        Some(found)
    }

    /// Which statement was the first to ask for the column with this hash.
    fn ask(&mut self, column: u64, statement: StatementNumber) -> Asked {
        if self.asked.len() >= ASKED_MAX {
            self.asked_before = std::mem::take(&mut self.asked);
        }
        let before = self.asked_before.get(&column).copied();
        *self
            .asked
            .entry(column)
            .or_insert(before.unwrap_or(Asked::By(statement)))
    }

    fn may_evict(&self) -> bool {
        let full_since = self.full_since.map(|since| since.elapsed());
        full_since.is_none_or(|elapsed| elapsed > EVICTION_INTERVAL)
    }

    /// Removes columns that no scan reads, and that none has used since `since`, until `target`
    /// bytes are left.
    fn evict(&mut self, target: u64, since: Option<Instant>) -> Vec<CachedColumn> {
        let mut evicted = Vec::new();
        for cached in self.files.values_mut() {
            let mut unused = cached.columns.extract_if(|_, column| {
                column.is_unpinned() && since.is_none_or(|since| column.used < since)
            });
            while self.bytes > target
                && let Some((_, column)) = unused.next()
            {
                self.bytes -= column.decoded.bytes;
                evicted.push(column);
            }
        }
        self.files.retain(|_, cached| !cached.columns.is_empty());
        evicted
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    const FIRST: StatementNumber = StatementNumber(1);
    const SECOND: StatementNumber = StatementNumber(2);

    fn file(name: &str) -> FileId {
        FileId {
            store: "file:///".into(),
            path: Path::from(name),
            size: 1,
            modified_ms: 1,
        }
    }

    fn needed(name: &str) -> NeededColumn {
        NeededColumn {
            name: name.into(),
            data_type: DataType::Int64,
        }
    }

    fn column(rows: i64) -> Arc<DecodedColumn> {
        let array: ArrayRef = Arc::new((0..rows).collect::<Int64Array>());
        Arc::new([array].into_iter().collect())
    }

    fn row_groups_of(found: &Found) -> Option<usize> {
        match found {
            Found::All(groups) => Some(groups.len()),
            Found::Worthwhile | Found::Unknown => None,
        }
    }

    #[test]
    fn column_is_worthwhile_when_another_statement_asks_for_it() {
        let cache = ColumnCache::new(1 << 20);
        let find = |names: &[&str], statement| {
            let columns: Vec<_> = names.iter().map(|name| needed(name)).collect();
            cache.find(&file("a"), |_| true, &columns, statement)
        };
        assert!(matches!(find(&["x"], FIRST), Found::Unknown));
        assert!(matches!(find(&["x"], FIRST), Found::Unknown));
        assert!(matches!(find(&["x", "y"], SECOND), Found::Unknown));
        assert!(matches!(find(&["x"], SECOND), Found::Worthwhile));
        cache.refuse(&file("a"), [&needed("x")]);
        assert!(matches!(find(&["x"], SECOND), Found::Unknown));
        assert_eq!(cache.usage().misses, 5);
    }

    #[test]
    fn scan_finds_the_row_groups_that_begin_in_its_range() {
        let cache = ColumnCache::new(1 << 20);
        let offsets: RowGroupOffsets = [4, 100, 200].into();
        for group in 0..2 {
            cache.insert(&file("a"), &offsets, needed("x").of(group), column(10));
        }
        let find = |below: i64, needed: NeededColumn| {
            let found = cache.find(&file("a"), |offset| offset < below, &[needed], FIRST);
            row_groups_of(&found)
        };
        assert_eq!(find(4, needed("x")), Some(0));
        assert_eq!(find(101, needed("x")), Some(2));
        assert_eq!(find(201, needed("x")), None, "the third is not there");
        assert_eq!(find(101, needed("y")), None, "another column");
        let text = NeededColumn {
            data_type: DataType::Utf8View,
            ..needed("x")
        };
        assert_eq!(find(101, text), None, "another type");
    }

    #[test]
    fn columns_in_use_are_not_evicted_for_others() {
        let held = column(1000).bytes;
        let cache = ColumnCache::new(2 * held);
        let offsets: RowGroupOffsets = [4].into();
        let insert =
            |name: &str| cache.insert(&file("a"), &offsets, needed(name).of(0), column(1000));
        let pinned = insert("x");
        drop((insert("y"), insert("z")));
        assert_eq!(cache.usage().bytes, 2 * held, "the third has no room");
        assert!(!cache.make_room(held), "both were used just now");
        let evicted = cache.lock().evict(0, Some(Instant::now()));
        assert_eq!(evicted.len(), 1, "a scan reads the other one");
        assert_eq!(cache.usage().bytes, held);
        assert!(cache.make_room(held) && !cache.clear());
        drop(pinned);
        assert!(cache.clear() && cache.usage().bytes == 0);
    }

    #[test]
    fn column_that_two_statements_decode_is_kept_once() {
        let cache = ColumnCache::new(1 << 20);
        let offsets: RowGroupOffsets = [4].into();
        let insert = || cache.insert(&file("a"), &offsets, needed("x").of(0), column(10));
        assert!(Arc::ptr_eq(&insert(), &insert()));
        assert_eq!(cache.usage().bytes, column(10).bytes);
    }
}
