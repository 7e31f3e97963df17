//! Lines of export files: a message inside an envelope with its identity,
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

/// The shape of a line of which only identity and event time are read. The value may be anything.
pub fn identity() -> Shape {
    Shape::of([
        (KAFKA_PARTITION, Kind::Bigint),
        (KAFKA_OFFSET, Kind::Bigint),
        (EVENT_TIME, Kind::Text),
    ])
}

/// Reads partition and offset of a refused line, so that its dead letter has an identity.
///
/// The result is certain even for a broken line: the line begins with both fields, in either order,
/// and a comma after each number shows that the number is complete.
pub fn salvage(line: &[u8]) -> Option<(i32, i64)> {
    let rest = token(line, b"{")?;
    let (first, rest) = field(rest)?;
    let (second, _) = field(rest)?;
    let (partition, offset) = match (first, second) {
        (Field::Partition(partition), Field::Offset(offset))
        | (Field::Offset(offset), Field::Partition(partition)) => (partition, offset),
        _ => return None,
    };
    Some((partition, offset))
}

enum Field {
    Partition(i32),
    Offset(i64),
}

/// Parses one of the two fields and its comma. Returns the rest too.
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
    [KAFKA_PARTITION, KAFKA_OFFSET]
        .into_iter()
        .find_map(|name| {
            let rest = text.strip_prefix(name.as_bytes())?;
            Some((name, rest.strip_prefix(b"\"")?))
        })
}

/// Parses the digits of an integer without sign and leading zeros. Returns the rest too.
fn digits(text: &[u8]) -> Option<(&str, &[u8])> {
    let text = token(text, b"")?;
    let (digits, rest) =
        text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count());
    match digits {
        [b'0', _, ..] => None,
        _ => Some((str::from_utf8(digits).ok()?, rest)),
    }
}

/// The rest after `token`, which may follow white space.
fn token<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let from = text.iter().take_while(|byte| white(byte)).count();
    text[from..].strip_prefix(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Decoder;

    #[test]
    fn line_decodes_to_message_and_identity() {
        let message = Shape::parse(&"a = 'bigint'".parse().expect("TOML")).expect("a shape");
        let mut decoder = Decoder::capturing(&shape(&message), VALUE);
        let line = r#"{"kafka_partition":1,"kafka_offset":12,"event_time":"2026-01-15 00:00:01","value":{"a":5}}"#;
        let value = decoder.push(line.as_bytes()).expect("well formed");
        assert_eq!(&line[value.expect("there is a value")], r#"{"a":5}"#);
        for field in [KAFKA_PARTITION, KAFKA_OFFSET, EVENT_TIME, VALUE] {
            let absent = line.replace(field, "other");
            let refusal = decoder
                .push(absent.as_bytes())
                .expect_err("all four are required");
            assert_eq!(
                refusal.to_string(),
                format!("missing_field: {field}, byte 0: the object that begins here lacks it")
            );
        }
    }

    #[test]
    fn identity_of_refused_line_is_read_if_certain() {
        let check = |line: &str, expected: Option<(i32, i64)>| {
            assert_eq!(salvage(line.as_bytes()), expected, "{line}");
        };
        check(r#"{"kafka_partition":0,"kafka_offset":12,"#, Some((0, 12)));
        check(
            r#"{"kafka_partition": 3, "kafka_offset": 0, "event_time": "20"#,
            Some((3, 0)),
        );
        check(
            " \t\r\n{ \"kafka_offset\" : 12 , \"kafka_partition\" : 7 ,!",
            Some((7, 12)),
        );
        check(
            r#"{"kafka_partition":2147483647,"kafka_offset":9223372036854775807,"#,
            Some((2_147_483_647, i64::MAX)),
        );
        for line in [
            "",
            "{",
            "[",
            r#"{"kafka_partition":0"#,
            r#"{"kafka_partition":0,"kafka_offset":12"#,
            r#"{"kafka_partition":0,"kafka_offset":12}"#,
            r#"{"kafka_partition":0,"kafka_offset":12 5,"#,
            r#"{"kafka_partition":0,"kafka_offset":,"#,
            r#"{"kafka_partition":0,"kafka_offset":1.5,"#,
            r#"{"kafka_partition":0,"kafka_offset":1e3,"#,
            r#"{"kafka_partition":0,"kafka_offset":012,"#,
            r#"{"kafka_partition":0,"kafka_offset":"12","#,
            r#"{"kafka_partition":0,"kafka_offset":null,"#,
            r#"{"kafka_partition":-1,"kafka_offset":12,"#,
            r#"{"kafka_partition":+1,"kafka_offset":12,"#,
            r#"{"kafka_partition":2147483648,"kafka_offset":12,"#,
            r#"{"kafka_partition":0,"kafka_offset":9223372036854775808,"#,
            r#"{"kafka_partition":0,"kafka_partition":1,"kafka_offset":12,"#,
            r#"{"kafka_offset":0,"kafka_offset":1,"kafka_partition":12,"#,
            r#"{"event_time":"","kafka_partition":0,"kafka_offset":12,"#,
            r#"{"kafka_partition":0,"event_time":"","kafka_offset":12,"#,
            r#"{"kafka_partition":0,,"kafka_offset":12,"#,
            r#"{"kafka_partitions":0,"kafka_offset":12,"#,
            r#"{"KAFKA_PARTITION":0,"kafka_offset":12,"#,
            "\u{feff}{\"kafka_partition\":0,\"kafka_offset\":12,",
            "x{\"kafka_partition\":0,\"kafka_offset\":12,",
        ] {
            check(line, None);
        }
        assert_eq!(
            salvage(b"{\"kafka_partition\":0,\"kafka_offset\":12,\"value\":\"\xff"),
            Some((0, 12))
        );
    }
}
