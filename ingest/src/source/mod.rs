//! Sources of messages: export files, Kafka and PostgreSQL.

mod channel;
mod export_lines;
pub(crate) mod files;
pub mod kafka;
pub(crate) mod postgres;
mod records;
pub(crate) mod watch;

pub(crate) use self::channel::{Blocks, InFlight, Permit, bounded_channel};
pub use self::export_lines::read_export_lines;
pub(crate) use self::records::{Offsets, Positions, Record, Records, RecordsBuilder};

/// Messages that are decoded together.
#[derive(Debug)]
pub(crate) enum Block {
    /// Lines of an export file.
    Lines(files::LineBlock),
    /// Records of a Kafka topic, or rows of its table in PostgreSQL.
    Records(Records),
}
