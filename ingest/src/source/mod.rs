//! Where messages wait to be landed, and how they are read.

pub(crate) mod files;
pub mod kafka;
pub(crate) mod watch;

/// What is decoded together.
#[derive(Debug)]
pub(crate) enum Block {
    /// Of an export file.
    Lines(files::Block),
    /// Of a Kafka topic.
    Records(kafka::Records),
}
