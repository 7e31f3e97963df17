//! Hostile messages: each must be validated in time proportional to its size.

use super::{reason, shape};
use crate::message::{Decoder, Reason, Shape};

fn check(message: &str, expected: Option<Reason>) {
    for declaration in [
        "",
        "a = 'json'",
        "a = 'text'\nb = ['double']\nc.d = 'bigint'",
    ] {
        let found = reason(&shape(declaration), message.as_bytes());
        assert_eq!(found, expected, "with {declaration}");
    }
}

#[test]
fn endless_nesting_is_refused() {
    let size = 100_000;
    check(&"[".repeat(size), Some(Reason::TooDeep));
    check(&"{\"x\":".repeat(size), Some(Reason::TooDeep));
    check(
        &format!("{{\"x\":{}", "[".repeat(size)),
        Some(Reason::TooDeep),
    );
    check(
        &format!("{{\"x\":{}", "[{\"y\":".repeat(size)),
        Some(Reason::TooDeep),
    );
}

#[test]
fn million_keys_are_checked_in_linear_time() {
    let keys = |name: &dyn Fn(usize) -> String| {
        let members: Vec<String> = (0..1_000_000)
            .map(|n| format!("\"{}\":0", name(n)))
            .collect();
        members.join(",")
    };
    let plain = keys(&|n| format!("key {n}"));
    check(&format!("{{{plain}}}"), None);
    check(
        &format!("{{{plain},\"key 0\":0}}"),
        Some(Reason::DuplicateKey),
    );
    // All keys have the same fingerprint.
    let alike = keys(&|n| format!("01234567{n:07}01234567"));
    check(&format!("{{\"x\":{{{alike}}}}}"), None);
    check(
        &format!("{{\"x\":{{{alike},\"\\u0030123456700000010123456\\u0037\":0}}}}"),
        Some(Reason::DuplicateKey),
    );
}

#[test]
fn numbers_of_a_megabyte_are_decoded_exactly() {
    let zeros = "0".repeat(1_000_000);
    let one =
        |number: &str| format!("{{\"c\":{{\"d\":{number}}},\"x\":{number},\"b\":[{number}]}}");
    check(&one(&format!("1{zeros}")), Some(Reason::NumberOutOfRange));
    check(&one(&format!("0.{zeros}1")), Some(Reason::NumberOutOfRange));
    check(&one(&format!("1e{zeros}")), None);
    check(&one(&format!("1e{zeros}3")), None);
    check(&one(&format!("1e1{zeros}")), Some(Reason::NumberOutOfRange));
    // Exponents of any size are exact: these numbers are all 1.
    check(&one(&format!("1{zeros}e-1000000")), None);
    check(&one(&format!("0.{}1e1000000", &zeros[1..])), None);
    check(&one(&format!("1.{zeros}")), None);
    let digits = "1234567890".repeat(100_000);
    check(&format!("{{\"x\":0.{digits}}}"), None);
    check(&format!("{{\"b\":[0.{digits}]}}"), None);
}

#[test]
fn long_strings_and_lists_are_bounded() {
    let size = 3_000_000;
    check(
        &format!("{{\"x\":\"{}", "a".repeat(size)),
        Some(Reason::InvalidJson),
    );
    check(
        &format!("{{\"x\":\"{}", "\\\\".repeat(size)),
        Some(Reason::InvalidJson),
    );
    check(
        &format!("{{\"x\":\"{}\"}}", "\\\\".repeat(size)),
        Some(Reason::StringTooLong),
    );
    check(&format!("{{\"x\":[{}0]}}", "0,".repeat(size)), None);
    check(&format!("{{\"b\":[{}0]}}", "0,".repeat(size)), None);
    check(&format!("{{\"x\":[{}0]}}", "{},".repeat(size)), None);
    check(&" ".repeat(size), Some(Reason::Empty));
}

#[test]
fn refused_message_leaves_no_rows() {
    let shape = shape("a = 'text'\nb = ['double']");
    let mut decoder = Decoder::new(&shape);
    let before = decoder.bytes();
    let list = format!(
        "{{\"a\":\"{}\",\"b\":[{}x]}}",
        "a".repeat(60_000),
        "0,".repeat(1_000_000)
    );
    assert!(decoder.push(list.as_bytes()).is_err());
    assert_eq!((decoder.len(), decoder.bytes()), (0, before));
}

#[test]
fn truncated_message_is_refused() {
    let message = r#" {"weather": {"main": {"temp": -1.5e0, "x": [true, null, {"y\u00e9": "\ud83d\ude00 é"}]}}, "list": [{"aqi": 1}, {}], "z": {}}"#;
    for shape in [
        Shape::default(),
        shape("weather.main.temp = 'double'\n[[list]]\naqi = 'bigint'\nz = 'json'"),
    ] {
        let mut decoder = Decoder::new(&shape);
        for end in 0..message.len() {
            assert!(
                decoder.push(&message.as_bytes()[..end]).is_err(),
                "{}",
                &message[..end]
            );
        }
        assert!(decoder.push(message.as_bytes()).is_ok());
    }
}
