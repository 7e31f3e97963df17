//! Connections to Kafka and PostgreSQL, and what is read over them.
//!
//! [`kafka`] connects to brokers and reads the [`records`] of a topic; [`postgres`] connects to a
//! database and brings its tables to the newest version. What the messages mean, and where they go,
//! is up to the callers.

mod error;
pub mod kafka;
pub mod postgres;
mod postgres_error;
pub mod records;

pub use crate::error::{Error, LibrdkafkaMessage};
