//! Where conditions are evaluated.

pub(in crate::rules) mod filter_pushdown;
pub(crate) mod guards;
pub(in crate::rules) mod projection_pushdown;
