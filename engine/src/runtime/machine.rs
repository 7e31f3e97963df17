//! Memory of the machine and of this process, as Linux reports it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::column_cache::ColumnCache;

/// Taken where the system does not say how much there is.
const UNKNOWN: u64 = 8 << 30;

/// Bytes of memory that this process may have: those of the machine, or of a control group that has
/// fewer.
pub(super) fn memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kibibytes(&text, "MemTotal:"));
    machine
        .into_iter()
        .chain(groups().iter().filter_map(|group| limit(group)))
        .min()
        .unwrap_or(UNKNOWN)
}

/// Bytes of this process in memory, where they are above `limit`. What no statement needs goes back
/// to the system first: pages that the allocator keeps for the next block, and then the decoded
/// columns of `cache`.
pub(super) fn resident_above(limit: u64, cache: &ColumnCache) -> Option<u64> {
    let above = || resident().filter(|resident| *resident > limit);
    above()?;
    allocations::purge();
    above()?;
    if cache.clear() {
        allocations::purge();
    }
    above()
}

/// Bytes of this process that are in memory now.
pub(super) fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmRSS:")
}

/// The value of a line such as `MemTotal:  16384 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// Files that hold the limits of the control groups of this process: its own and those above it,
/// which bind as well.
fn groups() -> Vec<PathBuf> {
    let mounted = Path::new("/sys/fs/cgroup");
    let mut files = vec![mounted.join("memory/memory.limit_in_bytes")];
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for path in own.lines().filter_map(|line| line.strip_prefix("0::/")) {
        let group = mounted.join(path);
        let above = group.ancestors().take_while(|at| at.starts_with(mounted));
        files.extend(above.map(|at| at.join("memory.max")));
    }
    files
}

/// The limit in `file`; a group without one says `max`.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_kibibytes() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nHugePages_Total:       0\n";
        assert_eq!(kibibytes(text, "MemTotal:"), Some(16 << 20));
        assert_eq!(kibibytes(text, "MemFree:"), Some(1024));
        assert_eq!(kibibytes(text, "HugePages_Total:"), None);
        assert_eq!(kibibytes(text, "Swap:"), None);
    }

    #[test]
    fn process_is_smaller_than_its_machine() {
        let resident = resident().unwrap();
        assert!(resident > 1 << 20 && resident < memory(), "{resident}");
    }
}
