//! Rules that give DOUBLE and REAL the order of PostgreSQL.

pub(in crate::rules) mod float_keys;
pub(in crate::rules) mod float_pruning;
pub(in crate::rules) mod zero_in_lists;
