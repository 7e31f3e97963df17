//! Lengths of time.

pub(crate) mod date_diff;
pub(crate) mod interval_scale;
pub(crate) mod span_length;
