//! Lines of export files, byte for byte as the legacy exporter wrote them with Python's
//! `json.dumps`.

use std::fmt::Write as _;

use chrono::NaiveDateTime;
use ingest::message::envelope::{EVENT_TIME, KAFKA_OFFSET, KAFKA_PARTITION, VALUE};

/// Appends the line of a message. `value` is the text of a JSONB.
pub(crate) fn push(
    lines: &mut String,
    partition: i32,
    offset: i64,
    date_time: NaiveDateTime,
    value: &str,
) {
    let date_time = date_time.format("%Y-%m-%d %H:%M:%S");
    write!(
        lines,
        "{{\"{KAFKA_PARTITION}\": {partition}, \"{KAFKA_OFFSET}\": {offset}, \"{EVENT_TIME}\": \"{date_time}\", \"{VALUE}\": "
    )
    .expect("writing to a string never fails");
    push_value(lines, value);
    lines.push_str("}\n");
}

/// The text of a JSONB has the spaces, the escapes and the order of keys of the legacy lines. Only
/// numbers differ: JSONB keeps the digits that were sent, and Python made a double of them.
fn push_value(lines: &mut String, value: &str) {
    let bytes = value.as_bytes();
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let is_number = |byte: &u8| matches!(byte, b'-' | b'.' | b'0'..=b'9');
                let length = bytes[at..]
                    .iter()
                    .take_while(|byte| is_number(byte))
                    .count();
                let number = &value[at..at + length];
                if number.contains('.') {
                    lines.push_str(&value[copied..at]);
                    push_number(lines, number);
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    lines.push_str(&value[copied..]);
}

/// The index after the quote that ends the string at `from`.
fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        if bytes[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    bytes.len()
}

/// A number with a point as Python writes a double: the fewest digits, and an exponent of two
/// digits with its sign.
fn push_number(lines: &mut String, number: &str) {
    let double = number.parse::<f64>().unwrap_or(f64::INFINITY);
    if !double.is_finite() {
        // Python would write `Infinity`, which is not JSON.
        return lines.push_str(number);
    }
    // Both languages change to exponents below 1e-4 and from 1e16 on.
    let text = format!("{double:?}");
    match text.split_once('e') {
        None => lines.push_str(&text),
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent
                .strip_prefix('-')
                .map_or(('+', exponent), |exponent| ('-', exponent));
            write!(lines, "{digits}e{sign}{exponent:0>2}")
                .expect("writing to a string never fails");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{push, push_value};

    #[test]
    fn line_has_message_and_identity() {
        let mut lines = String::new();
        let at = "2026-01-15T00:00:20".parse().expect("a time");
        push(&mut lines, 1, 12, at, r#"{"a": "Saint-Étienne"}"#);
        let expected = "{\"kafka_partition\": 1, \"kafka_offset\": 12, \"event_time\": \"2026-01-15 00:00:20\", \"value\": {\"a\": \"Saint-Étienne\"}}\n";
        assert_eq!(lines, expected);
    }

    /// The expected texts were printed by CPython 3.11.
    #[test]
    fn numbers_are_written_as_python_writes_them() {
        let check = |value: &str, expected: &str| {
            let mut found = String::new();
            push_value(&mut found, value);
            assert_eq!(found, expected);
        };
        check("12", "12");
        check("-12.50", "-12.5");
        check("12.0", "12.0");
        check("0.0001", "0.0001");
        check("0.00001", "1e-05");
        check("0.00000000000015", "1.5e-13");
        check("1234567890123456.0", "1234567890123456.0");
        check("12345678901234567.0", "1.2345678901234568e+16");
        check(
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        );
        check("0.1234567890123456789", "0.12345678901234568");
        check(
            r#"{"1.50": ["\"2.50", 3.50, "\\", 4.50], "b": -0.10}"#,
            r#"{"1.50": ["\"2.50", 3.5, "\\", 4.5], "b": -0.1}"#,
        );
        let beyond = format!("1{}.5", "0".repeat(400));
        check(&beyond, &beyond);
    }
}
