//! Arithmetic and rounding of numbers.

pub(crate) mod arithmetic;
pub(crate) mod float_key;
pub(crate) mod in_range;
pub(crate) mod nearest;
pub(crate) mod rounding;
