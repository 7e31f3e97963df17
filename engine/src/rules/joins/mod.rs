//! Joins: what they may cost, and what they may leave out.

pub(in crate::rules) mod cooperative_joins;
pub(in crate::rules) mod dynamic_filters;
pub(in crate::rules) mod join_pairs;
pub(in crate::rules) mod null_safe_joins;
