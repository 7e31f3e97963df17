//! Random jitter, so that clients do not call at the same time.

use std::hash::{BuildHasher, RandomState};

/// A random number in 0..1. The seed of a hash map is random enough, and needs no dependency.
#[expect(clippy::cast_precision_loss, reason = "jitter needs no 64 bits")]
pub(crate) fn jitter() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
