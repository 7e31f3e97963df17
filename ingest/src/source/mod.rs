//! Sources of messages: export files and PostgreSQL. `connections::kafka` reads Kafka.

mod channel;
mod export_lines;
pub(crate) mod files;
pub(crate) mod postgres;
pub(crate) mod watch;

use connections::records::Records;

pub(crate) use self::channel::{Blocks, InFlight, Permit, bounded_channel};
pub use self::export_lines::read_export_lines;

/// Messages that are decoded together.
#[derive(Debug)]
pub(crate) enum Block {
    /// Lines of an export file.
    Lines(files::LineBlock),
    /// Records of a Kafka topic, or rows of its table in PostgreSQL.
    Records(Records),
}
