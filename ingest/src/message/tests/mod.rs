//! Tests of the decoder as a whole.

mod hostile;
mod oracle;
mod random;

mod rules;

use arrow::array::StructArray;
use arrow::util::display::array_value_to_string;

use super::{Decoder, Reason, Shape};

fn shape(declaration: &str) -> Shape {
    Shape::parse(&declaration.parse().expect("the declaration is TOML"))
        .expect("the declaration is a shape")
}

/// Decodes one message with a new decoder. Returns its row or its refusal.
fn decode(shape: &Shape, message: &[u8]) -> String {
    let mut decoder = Decoder::new(shape);
    match decoder.push(message) {
        Ok(_) => row(&decoder.finish(), 0),
        Err(refusal) => refusal.to_string(),
    }
}

fn reason(shape: &Shape, message: &[u8]) -> Option<Reason> {
    Decoder::new(shape)
        .push(message)
        .err()
        .map(|refusal| refusal.reason)
}

fn row(rows: &StructArray, row: usize) -> String {
    array_value_to_string(rows, row).expect("every type of a shape is displayed")
}
