//! The services of the legacy pipeline, which bring messages from OpenWeather to Kafka, PostgreSQL
//! and files.
//!
//! The modules in the order of a message: [`openweather`] makes it, [`produce`] sends it to Kafka,
//! [`consume`] copies it to PostgreSQL, and [`export`] writes it from there into a file. A landing,
//! which is in crate `ingest`, reads it from any of these.

pub mod consume;
mod error;
pub mod export;
mod jitter;
pub mod openweather;
pub mod produce;

pub use error::Error;
