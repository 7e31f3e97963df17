//! Landing: messages from a source become rows of Delta tables.
//!
//! The modules in the order of a message: [`source`] reads it from files or PostgreSQL, as
//! [`connections::kafka`] does from Kafka; [`message`] validates and decodes it, [`declaration`]
//! names the tables whose rows it becomes, and [`land`] commits those rows. [`dead_letters`] has
//! what was refused.

pub mod dead_letters;
pub mod declaration;
mod error;
pub mod land;
pub mod message;
mod select;
pub mod source;

pub use error::Error;
