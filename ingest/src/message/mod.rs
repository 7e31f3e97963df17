//! Messages: the type that tables declare them to have, and their decoding from JSON into Arrow.
//!
//! A message is judged whole, also where no table reads it, and is decoded once for all tables of its topic. What is
//! malformed is refused with a reason and the place; nothing is repaired, guessed or left out. What a well-formed
//! message means, whether its values are plausible and which rows it makes, is for the tables' SQL.

mod column;
mod decoder;
pub mod envelope;
mod judge;
mod keys;
mod number;
mod read;
mod refusal;
mod scan;
mod shape;

pub use decoder::Decoder;
pub use judge::Judge;
pub use refusal::{Reason, Refusal};
pub use shape::{Shape, ShapeError};

#[cfg(test)]
mod tests;
