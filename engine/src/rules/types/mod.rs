//! Types of expressions, and the casts between them.

pub(in crate::rules) mod casts;
pub(in crate::rules) mod list_items;
pub(in crate::rules) mod literal_sides;
pub(in crate::rules) mod number_types;
pub(in crate::rules) mod set_operations;
pub(in crate::rules) mod signed_counts;
pub(in crate::rules) mod time_types;
