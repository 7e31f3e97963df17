//! From rows to a commit: a buffer within the memory budget, staged files, and the commits of
//! tables.

pub(crate) mod buffer;
pub(crate) mod committer;
pub(crate) mod memory_budget;
pub(crate) mod stage;
pub(crate) mod tables;
