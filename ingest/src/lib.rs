//! Sources of messages and the pipeline that lands them.
//!
//! The modules in the order of a message: [`openweather`] makes it, [`produce`] sends it to Kafka,
//! `source` reads it from there, [`message`] validates and decodes it, [`declaration`] names the
//! tables whose rows it becomes, and [`land`] commits those rows. [`dead_letters`] has what was
//! refused. Besides, [`consume`] copies
//! messages to PostgreSQL, and [`export`] writes them from there into files, which `source` reads
//! as well.

pub mod consume;
pub mod dead_letters;
pub mod declaration;
pub mod error;
pub mod export;
mod jitter;
pub mod land;
pub mod message;
pub mod openweather;
pub mod produce;
mod select;
pub mod source;

pub use error::Error;
