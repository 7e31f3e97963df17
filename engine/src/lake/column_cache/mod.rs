//! Columns of data files as decoded, in memory: a statement that reads what an earlier one has read decodes nothing.
//!
//! The unit is one column of one row group. Data files never change, so a cached column is never stale. A column is kept
//! when a second statement asks for it: the first one reads it as without a cache, with all pruning of pages and rows.
//!
//! A column that a statement has just used is not evicted, and others are evicted in the order of their hashes. Evicted by
//! their last use, the columns of a scan that is larger than the cache would each go just before the next such scan reads
//! them; so the same part of them stays.

mod fill;
mod scan;
mod source;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array as _, ArrayData, ArrayRef};
use arrow::datatypes::DataType;
use object_store::path::Path;

use crate::allocations;
pub(crate) use source::ReadThroughCache;

/// How long a column counts as just used.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// Of so many columns the cache remembers that a statement has asked for them; above it forgets all, and learns anew.
const ASKED_MAX: usize = 100_000;

/// One version of the bytes of a data file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FileId {
    store: Arc<str>,
    path: Path,
    size: u64,
    modified_ms: i64,
}

/// One column of one row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ColumnId {
    row_group: usize,
    /// Of the top-level columns of the table, without those of its partition.
    column: usize,
}

/// Where row groups begin in their file, in bytes. A scan of a range of the file reads those that begin in it.
type RowGroupOffsets = Arc<[i64]>;

/// The rows of one row group of one column, in order, as arrays of [`fill::ROWS`] rows.
#[derive(Debug)]
struct DecodedColumn {
    arrays: Vec<ArrayRef>,
    bytes: u64,
}

impl DecodedColumn {
    /// From now on the memory of `arrays` is the cache's, and not that of the statement that has decoded them.
    fn new(arrays: Vec<ArrayRef>) -> Self {
        let bytes = bytes_of(&arrays);
        allocations::discharge(bytes);
        Self { arrays, bytes }
    }

    fn is_of(&self, data_type: &DataType) -> bool {
        let mut arrays = self.arrays.iter();
        arrays.all(|array| array.data_type() == data_type)
    }
}

/// A statement may be the last to drop a column. What it frees then was not counted as its own.
impl Drop for DecodedColumn {
    fn drop(&mut self) {
        allocations::charge(self.bytes);
    }
}

/// What an array takes beside its buffers, about: small files have small ones.
const ARRAY_BYTES: u64 = 512;

/// Bytes of `arrays`, each buffer counted once: views of texts in several arrays share the buffers of a page.
fn bytes_of(arrays: &[ArrayRef]) -> u64 {
    fn add(data: &ArrayData, seen: &mut HashSet<usize>) -> usize {
        let buffers = data.buffers().iter();
        let nulls = data.nulls().map(|nulls| nulls.inner().inner());
        let own = buffers.chain(nulls).map(|buffer| {
            let is_new = seen.insert(buffer.data_ptr().as_ptr() as usize);
            if is_new { buffer.capacity() } else { 0 }
        });
        let own = own.sum::<usize>();
        let children = data.child_data().iter();
        own + children.map(|child| add(child, seen)).sum::<usize>()
    }
    let mut seen = HashSet::new();
    let bytes = arrays.iter().map(|array| add(&array.to_data(), &mut seen));
    bytes.sum::<usize>() as u64 + ARRAY_BYTES * arrays.len() as u64
}

/// The decoded columns that the statements of a process share.
#[derive(Debug)]
pub(crate) struct ColumnCache {
    /// Bytes that it may hold. Zero keeps nothing.
    limit: u64,
    state: Mutex<State>,
    /// For the columns in [`State::asked`]: their hashes are enough.
    hasher: RandomState,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<FileId, CachedFile>,
    bytes: u64,
    /// Hashes of the columns that a statement has asked for, and that are not cached yet.
    asked: HashSet<u64>,
}

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

/// What the cache has of the columns that a scan needs of a file.
enum Found {
    /// All of them, a list for each row group.
    All(Vec<Vec<Arc<DecodedColumn>>>),
    /// Not all, and each has been asked for before: they are worth keeping.
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

    /// Gives all of its memory up; false if it has none.
    pub(crate) fn clear(&self) -> bool {
        // Dropped without the lock: there may be GiB of it.
        let cleared = std::mem::take(&mut *self.lock());
        cleared.bytes > 0
    }

    /// Looks up `columns` of the row groups of `file` that begin in `range`.
    fn find(&self, file: &FileId, range: impl Fn(i64) -> bool, columns: &[NeededColumn]) -> Found {
        let mut state = self.lock();
        if let Some(found) = state.all(file, range, columns) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Found::All(found);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        if state.asked.len() > ASKED_MAX {
            state.asked.clear();
        }
        let mut is_first = false;
        for column in columns {
            is_first |= state
                .asked
                .insert(self.hasher.hash_one((file, column.index)));
        }
        if is_first {
            Found::Unknown
        } else {
            Found::Worthwhile
        }
    }

    fn get(&self, file: &FileId, id: ColumnId, data_type: &DataType) -> Option<Arc<DecodedColumn>> {
        let state = self.lock();
        let column = state.files.get(file)?.columns.get(&id)?;
        let decoded = &column.decoded;
        decoded.is_of(data_type).then(|| Arc::clone(decoded))
    }

    /// Whether there is room for `bytes` more, after the eviction of what nobody uses any more.
    fn make_room(&self, bytes: u64) -> bool {
        let mut evicted = None;
        let mut state = self.lock();
        if state.bytes + bytes > self.limit && bytes <= self.limit {
            let unused_since = Instant::now().checked_sub(KEPT_FOR);
            // More than is needed, since each eviction looks at all files.
            let target = (self.limit - bytes) / 16 * 15;
            evicted = unused_since.map(|since| state.evict(target, since));
        }
        let has_room = state.bytes + bytes <= self.limit;
        drop(state);
        // Without the lock: there may be GiB of it.
        drop(evicted);
        has_room
    }

    fn insert(
        &self,
        file: &FileId,
        offsets: &RowGroupOffsets,
        id: ColumnId,
        decoded: &Arc<DecodedColumn>,
    ) {
        let mut state = self.lock();
        if state.bytes + decoded.bytes > self.limit {
            return;
        }
        let column = CachedColumn {
            decoded: Arc::clone(decoded),
            used: Instant::now(),
        };
        let cached = state.files.entry(file.clone());
        let cached = cached.or_insert_with(|| CachedFile {
            offsets: Arc::clone(offsets),
            columns: HashMap::new(),
        });
        let replaced = cached.columns.insert(id, column);
        state.bytes += decoded.bytes;
        if let Some(replaced) = &replaced {
            state.bytes -= replaced.decoded.bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A column that a scan reads.
#[derive(Clone, Debug)]
struct NeededColumn {
    /// See [`ColumnId::column`].
    index: usize,
    name: String,
    data_type: DataType,
}

impl State {
    fn all(
        &mut self,
        file: &FileId,
        range: impl Fn(i64) -> bool,
        columns: &[NeededColumn],
    ) -> Option<Vec<Vec<Arc<DecodedColumn>>>> {
        let cached = self.files.get_mut(file)?;
        let groups: Vec<usize> = (0..cached.offsets.len())
            .filter(|group| range(cached.offsets[*group]))
            .collect();
        let now = Instant::now();
        let mut found = Vec::with_capacity(groups.len());
        for row_group in groups {
            let mut of_group = Vec::with_capacity(columns.len());
            for needed in columns {
                let id = ColumnId {
                    row_group,
                    column: needed.index,
                };
                let column = cached.columns.get_mut(&id)?;
                if !column.decoded.is_of(&needed.data_type) {
                    return None;
                }
                column.used = now;
                of_group.push(Arc::clone(&column.decoded));
            }
            found.push(of_group);
        }
        Some(found)
    }

    /// Removes columns that no statement has used since `since`, until `target` bytes are left.
    fn evict(&mut self, target: u64, since: Instant) -> Vec<CachedColumn> {
        let mut evicted = Vec::new();
        for cached in self.files.values_mut() {
            let mut unused = cached.columns.extract_if(|_, column| column.used < since);
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
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn file(name: &str) -> FileId {
        FileId {
            store: "file:///".into(),
            path: Path::from(name),
            size: 1,
            modified_ms: 1,
        }
    }

    fn id(row_group: usize, column: usize) -> ColumnId {
        ColumnId { row_group, column }
    }

    fn column(rows: i64) -> Arc<DecodedColumn> {
        let array: ArrayRef = Arc::new((0..rows).collect::<Int64Array>());
        Arc::new(DecodedColumn::new(vec![array]))
    }

    fn needed(index: usize) -> NeededColumn {
        NeededColumn {
            index,
            name: format!("c{index}"),
            data_type: DataType::Int64,
        }
    }

    fn row_groups_of(found: &Found) -> Option<usize> {
        match found {
            Found::All(groups) => Some(groups.len()),
            Found::Worthwhile | Found::Unknown => None,
        }
    }

    #[test]
    fn column_is_worthwhile_when_it_is_asked_for_again() {
        let cache = ColumnCache::new(1 << 20);
        let find = |columns: &[NeededColumn]| cache.find(&file("a"), |_| true, columns);
        assert!(matches!(find(&[needed(0)]), Found::Unknown));
        assert!(matches!(find(&[needed(0), needed(1)]), Found::Unknown));
        assert!(matches!(find(&[needed(0), needed(1)]), Found::Worthwhile));
        assert!(matches!(
            cache.find(&file("b"), |_| true, &[needed(0)]),
            Found::Unknown
        ));
        assert_eq!(cache.usage().misses, 4);
    }

    #[test]
    fn scan_finds_the_row_groups_that_begin_in_its_range() {
        let cache = ColumnCache::new(1 << 20);
        let offsets: RowGroupOffsets = [4, 100, 200].into();
        for group in 0..2 {
            cache.insert(&file("a"), &offsets, id(group, 0), &column(10));
        }
        let find = |below: i64| cache.find(&file("a"), |offset| offset < below, &[needed(0)]);
        assert_eq!(row_groups_of(&find(4)), Some(0));
        assert_eq!(row_groups_of(&find(101)), Some(2));
        assert_eq!(row_groups_of(&find(201)), None, "the third is not there");
        let text = NeededColumn {
            data_type: DataType::Utf8View,
            ..needed(0)
        };
        let of_another_type = cache.find(&file("a"), |offset| offset < 101, &[text]);
        assert_eq!(row_groups_of(&of_another_type), None);
    }

    #[test]
    fn columns_in_use_are_not_evicted_for_others() {
        let held = column(1000).bytes;
        let cache = ColumnCache::new(2 * held);
        let offsets: RowGroupOffsets = [4].into();
        for index in 0..3 {
            cache.insert(&file("a"), &offsets, id(0, index), &column(1000));
        }
        assert_eq!(cache.usage().bytes, 2 * held, "the third has no room");
        assert!(!cache.make_room(held));
        let evicted = cache.lock().evict(held, Instant::now());
        assert_eq!(evicted.len(), 1);
        assert_eq!(cache.usage().bytes, held);
        assert!(cache.make_room(held));
        assert!(cache.clear() && !cache.clear());
    }

    #[test]
    fn buffers_that_arrays_share_count_once() {
        let long = "a text that does not fit into its view";
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![long; 1000]));
        let whole = bytes_of(&[Arc::clone(&texts)]);
        assert_eq!(
            bytes_of(&[texts.slice(0, 500), texts.slice(500, 500)]),
            whole
        );
        assert!(whole >= 16 * 1000);
    }
}
