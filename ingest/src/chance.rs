//! A little randomness, to spread clients apart in time.

use std::hash::{BuildHasher, RandomState};

/// A number in 0..1. The seed of a hash map is random enough for a jitter, and spares a dependency.
#[expect(clippy::cast_precision_loss, reason = "a jitter needs no 64 bits")]
pub(crate) fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
