//! Messages: their declared type, and the decoder from JSON into Arrow.
//!
//! The decoder validates the whole message, including fields that no table reads, and decodes it
//! once for all tables of its topic. It refuses a malformed message with a reason and the place; it
//! repairs, guesses and skips nothing. The SQL of the tables decides what a well-formed message
//! means: whether its values are plausible, and which rows it becomes.

mod column;
mod decoder;
pub mod envelope;
mod keys;
mod number;
mod read;
mod refusal;
mod scan;
mod shape;
mod validate;

pub use decoder::Decoder;
pub use refusal::{Reason, Refusal};
pub use shape::{Shape, ShapeError};
pub use validate::Validator;

#[cfg(test)]
mod tests;
