//! Where messages wait to be landed, and how they are read.

mod blocks;
pub(crate) mod files;
pub mod kafka;
pub(crate) mod postgres;
mod records;
pub(crate) mod watch;

pub(crate) use self::blocks::{Blocks, Place, Sent, way};
pub(crate) use self::records::{Gathered, Offsets, Positions, Record, Records};

/// What is decoded together.
#[derive(Debug)]
pub(crate) enum Block {
    /// Of an export file.
    Lines(files::Block),
    /// Of a Kafka topic, or of its table in PostgreSQL.
    Records(Records),
}
