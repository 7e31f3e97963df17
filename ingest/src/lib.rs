//! Sources of messages and the pipeline that lands them.
//!
//! Read it along the way of a message: [`openweather`] makes it, [`produce`] sends it to Kafka, `source` reads it back from where it
//! waits, [`message`] judges and decodes it, [`declaration`] says which tables it becomes rows of, and
//! [`land`] commits those rows.

mod chance;
pub mod declaration;
pub mod error;
pub mod land;
pub mod message;
pub mod openweather;
pub mod produce;
pub mod source;

pub use error::Error;
