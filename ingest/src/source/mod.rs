//! Where messages wait to be landed.

pub(crate) mod files;
