//! Landings by source: what each reads, and when it ends.

pub(crate) mod from_files;
pub(crate) mod from_kafka;
pub(crate) mod from_postgres;
pub(crate) mod landing_source;
mod run_until;
mod topics;
