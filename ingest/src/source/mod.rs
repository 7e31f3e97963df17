//! Where messages wait to be landed.

pub(crate) mod files;
pub(crate) mod watch;
