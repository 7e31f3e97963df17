//! Lines of exported files: a message with its identity around it,
//! `{"kafka_partition":0,"kafka_offset":12,"event_time":"2026-01-15 00:00:01","value":{…}}`.

use super::shape::{Kind, Shape};

pub const KAFKA_PARTITION: &str = "kafka_partition";
pub const KAFKA_OFFSET: &str = "kafka_offset";
pub const EVENT_TIME: &str = "event_time";
pub const VALUE: &str = "value";

/// The shape of a line that carries a message of the given shape. All four fields are required.
pub fn shape(message: &Shape) -> Shape {
    Shape::of([
        (KAFKA_PARTITION, Kind::Bigint),
        (KAFKA_OFFSET, Kind::Bigint),
        (EVENT_TIME, Kind::Text),
        (VALUE, Kind::Object(message.clone())),
    ])
}

/// The partition and offset of a line that was refused, so that its dead letter carries an identity.
///
/// A broken line is trusted with that only as far as it is certain: it begins with both fields, in either order, and
/// a comma follows each number, so that none is the beginning of a longer one.
pub fn salvage(line: &[u8]) -> Option<(i32, i64)> {
    let rest = token(line, b"{")?;
    let (first, rest) = field(rest)?;
    let (second, _) = field(rest)?;
    let (partition, offset) = match (first, second) {
        (Field::Partition(partition), Field::Offset(offset)) | (Field::Offset(offset), Field::Partition(partition)) => {
            (partition, offset)
        }
        _ => return None,
    };
    Some((partition, offset))
}

enum Field {
    Partition(i32),
    Offset(i64),
}

/// One of the two fields, with the comma after it, and what follows.
fn field(text: &[u8]) -> Option<(Field, &[u8])> {
    let (name, rest) = name(token(text, b"\"")?)?;
    let (digits, rest) = digits(token(rest, b":")?)?;
    let rest = token(rest, b",")?;
    let field = match name {
        KAFKA_PARTITION => Field::Partition(digits.parse().ok()?),
        _ => Field::Offset(digits.parse().ok()?),
    };
    Some((field, rest))
}

fn name(text: &[u8]) -> Option<(&'static str, &[u8])> {
    [KAFKA_PARTITION, KAFKA_OFFSET].into_iter().find_map(|name| {
        let rest = text.strip_prefix(name.as_bytes())?;
        Some((name, rest.strip_prefix(b"\"")?))
    })
}

/// The digits of a whole number, no sign and no leading zero.
fn digits(text: &[u8]) -> Option<(&str, &[u8])> {
    let text = token(text, b"")?;
    let (digits, rest) = text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count());
    match digits {
        [b'0', _, ..] => None,
        _ => Some((str::from_utf8(digits).ok()?, rest)),
    }
}

/// What follows `token`, which white space may precede.
fn token<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let from = text.iter().take_while(|byte| white(byte)).count();
    text[from..].strip_prefix(token)
}
