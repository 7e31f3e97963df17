//! One table of cases for each validation rule, and for the values of declared fields.

use arrow::array::Array;

use super::{decode, reason, row, shape};
use crate::message::{Decoder, Reason, Shape};

/// Asserts the reason of the refusal, both for a value that a table reads and for one that none
/// reads.
fn check_value(value: &str, expected: Option<Reason>) {
    let message = format!("{{\"a\": {value}}}");
    for declaration in ["", "a = 'json'"] {
        let found = reason(&shape(declaration), message.as_bytes());
        assert_eq!(found, expected, "{message} with {declaration:?}");
    }
}

fn check(declaration: &str, message: &str, expected: &str) {
    let decoded = decode(&shape(declaration), message.as_bytes());
    assert_eq!(decoded, expected, "{message}");
}

#[rustfmt::skip] // a table, several cases to a line
const SOUND: &[&str] = &[
    "1", "-1", "0", "-0", "0.5", "1e5", "1E+5", "1.25e-5", "true", "false", "null",
    "[]", "[ ]", "[1]", "[1 , 2]", "{}", "{ }", "{\"b\":1}", "\t\r\n 1 \t\r\n",
    "\"\"", "\"a\"", "\"\u{7f}\"", "\"\u{2028}\"", "\"é😀\"", r#""\"\\\/\b\f\n\r\t\u0041""#,
    r#""\u00e9\uD83D\uDE00\ufffe\u0000""#, r#"{"b\n": [{"c": [[]]}]}"#,
];

#[rustfmt::skip] // a table, several cases to a line
const BROKEN: &[&str] = &[
    "", "01", "-01", "+1", ".5", "1.", "1.e5", "1e", "1e+", "-", "--1", "0x10", "1_000", "1,", "١",
    "NaN", "Infinity", "-Infinity", "nan", "True", "tru", "truex", "nul", "None", "undefined",
    "'a'", "\"a", "\"a\\\"", "\"\\", "\"\u{1}\"", "\"\n\"", "\"\t\"", "\"\u{0}\"", "\"12345678\u{1f}\"",
    r#""\x41""#, r#""\u12""#, r#""\u12g4""#, r#""\u+123""#, r#""\U0041""#, "\"\\\u{1}\"", "\"\\é\"",
    "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1}", "{", "{\"b\"", "{\"b\":", "{\"b\":1",
    "{\"b\":1,", "{\"b\":1,}", "{,}", "{\"b\" 1}", "{\"b\":1 \"c\":2}", "{b:1}", "{1:1}", "{'b':1}",
    "{null:1}", "{\"b\":1]", "1 // no", "/* no */ 1", "\u{a0}1", "\u{feff}1", "\u{c}1",
];

#[test]
fn value_follows_grammar_of_rfc_8259() {
    for value in SOUND {
        check_value(value, None);
    }
    for value in BROKEN {
        check_value(value, Some(Reason::InvalidJson));
    }
}

#[test]
fn message_is_one_json_object() {
    let check = |message: &[u8], expected: Option<Reason>| {
        let shown = String::from_utf8_lossy(message);
        assert_eq!(reason(&Shape::default(), message), expected, "{shown}");
    };
    check(b"{}", None);
    check(b" \t\r\n{} \t\r\n", None);
    check(b"", Some(Reason::Empty));
    check(b" \t\r\n", Some(Reason::Empty));
    for other in ["42", "-0", "true", "null", "\"\"", "\"{}\"", "[]", "[{}]"] {
        check(other.as_bytes(), Some(Reason::NotAnObject));
    }
    // Malformed JSON takes precedence over a wrong type as the reason.
    for broken in [
        "4x2", "[1", "[{}}", "\"", "nul", "<html>", "{", "}", "{{}}", "\u{0}", "\u{0}{}",
    ] {
        let reason = reason(&Shape::default(), broken.as_bytes());
        assert!(
            matches!(reason, Some(Reason::InvalidJson | Reason::TrailingBytes)),
            "{broken}: {reason:?}"
        );
    }
    for trailing in [
        "{}{}",
        "{} x",
        "{},",
        "{}}",
        "{}\u{0}",
        "{}\u{feff}",
        "{}\u{a0}",
        "42 42",
    ] {
        check(trailing.as_bytes(), Some(Reason::TrailingBytes));
    }
    check(b"\xef\xbb\xbf{}", Some(Reason::ByteOrderMark));
    check(b"\xef\xbb\xbf", Some(Reason::ByteOrderMark));
    check(b"\xef\xbb{}", Some(Reason::InvalidUtf8));
    check(b"\xfe\xff\0{\0}", Some(Reason::InvalidUtf8));
    let invalid: [&[u8]; 8] = [
        b"\xff",
        b"Saint-\xc9tienne",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe2\x82",
        b"\xf5\x80\x80\x80",
        b"\x80",
        b"\xf0\x82\x82\xac",
    ];
    for bytes in invalid {
        check(
            &[b"{\"a\":\"", bytes, b"\"}"].concat(),
            Some(Reason::InvalidUtf8),
        );
        check(&[b"{}", bytes].concat(), Some(Reason::InvalidUtf8));
    }
}

#[test]
fn lone_surrogate_is_refused() {
    let lone = [
        r"\ud83d",
        r"\ud83dis",
        r"\ude00",
        r"\ud83d\ud83d",
        r"\ude00\ud83d",
        r"\ud83d\u0041",
        r"\ud83d \ude00",
        r"\uDBFF",
        r"\ud83d\n",
    ];
    for text in lone {
        check_value(&format!("\"{text}\""), Some(Reason::LoneSurrogate));
        check_value(&format!("{{\"{text}\": 1}}"), Some(Reason::LoneSurrogate));
        check_value(
            &format!("[\"12345678{text}12345678\"]"),
            Some(Reason::LoneSurrogate),
        );
        let message = format!("{{\"a\":\"{text}\"}}");
        assert_eq!(
            reason(&shape("a = 'text'"), message.as_bytes()),
            Some(Reason::LoneSurrogate)
        );
        let message = format!("{{\"{text}\":1}}");
        assert_eq!(
            reason(&shape("a = 'text'"), message.as_bytes()),
            Some(Reason::LoneSurrogate)
        );
    }
    check_value(r#""\ud83d\u00""#, Some(Reason::InvalidJson));
    check(
        "a = 'text'",
        r#"{"a":"\ud83d\ude00 \uDBFF\uDFFF \ue000"}"#,
        "{a: 😀 \u{10ffff} \u{e000}}",
    );
}

#[test]
fn duplicate_key_is_refused() {
    let duplicate = Some(Reason::DuplicateKey);
    check_value(r#"{"b":1,"b":1}"#, duplicate);
    check_value(r#"{"b":1,"c":2,"d":3,"b":4}"#, duplicate);
    check_value(r#"{"":1,"":2}"#, duplicate);
    check_value(r#"{"temp":1,"\u0074emp":2}"#, duplicate);
    check_value(r#"{"\u0074emp":1,"t\u0065mp":2}"#, duplicate);
    check_value(r#"{"\/":1,"/":2}"#, duplicate);
    check_value(r#"[1,{"b":{"c":[{"d":1,"d":1}]}}]"#, duplicate);
    check_value(r#"{"b":{"c":1},"c":{"b":1,"c":1}}"#, None);
    check_value(r#"[{"b":1},{"b":1}]"#, None);
    check_value(r#"{"b":1,"B":1,"b ":1,"b\u0000":1,"\\u0062":1}"#, None);
    // Equal in length, first and last eight bytes, so only a comparison of the texts distinguishes
    // them.
    check_value(r#"{"01234567a01234567":1,"01234567b01234567":1}"#, None);
    check_value(
        r#"{"01234567a01234567":1,"01234567b01234567":1,"01234567a01234567":1}"#,
        duplicate,
    );
    for count in [2, 15, 16, 17, 18, 100] {
        let keys: Vec<String> = (0..count)
            .map(|n| format!("\"01234567-{n:03}-01234567\":{n}"))
            .collect();
        check_value(&format!("{{{}}}", keys.join(",")), None);
        check_value(&format!("{{{},{}}}", keys.join(","), keys[0]), duplicate);
        let escaped = keys[count - 1].replace('-', "\\u002d");
        check_value(&format!("{{{},{escaped}}}", keys.join(",")), duplicate);
    }
    let declared = "a = 'bigint'\nb.c = 'bigint'\n'd\"' = 'bigint'";
    for message in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":null,"a":1}"#,
        r#"{"a":1,"x":1,"b":{},"\u0061":1}"#,
        r#"{"\u0061":1,"a":1}"#,
        r#"{"b":{"c":1,"c":1}}"#,
        r#"{"b":{"x":1,"x":1}}"#,
        r#"{"x":1,"a":2,"x":1}"#,
        r#"{"d\"":1,"d\u0022":1}"#,
    ] {
        assert_eq!(
            reason(&shape(declared), message.as_bytes()),
            duplicate,
            "{message}"
        );
    }
    check(
        declared,
        r#"{"x":1,"d\"":3,"b":{"a":1,"c":2},"a":1}"#,
        "{a: 1, b: {c: 2}, d\": 3}",
    );
    check(declared, r#"{"d":1,"d\\":3}"#, "{a: , b: , d\": }");
}

#[test]
fn nesting_beyond_64_levels_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[[{\"b\":[", "]}]]")] {
        let levels = open.matches(['[', '{']).count();
        let nested = |depth: usize| {
            let times = depth / levels;
            format!("{}1{}", open.repeat(times), close.repeat(times))
        };
        // The message itself is one level: these values reach 61, 65 and many more levels.
        check_value(&nested(60), None);
        check_value(&nested(64), Some(Reason::TooDeep));
        check_value(&nested(20_000), Some(Reason::TooDeep));
    }
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    check_value(&lists(63), None);
    check_value(&lists(64), Some(Reason::TooDeep));
    // Declared levels count as well.
    let declared = shape(&format!("a = {}'text'{}", "[".repeat(70), "]".repeat(70)));
    let message = |depth| format!("{{\"a\":{}}}", lists(depth));
    assert_eq!(reason(&declared, message(63).as_bytes()), None);
    assert_eq!(
        reason(&declared, message(64).as_bytes()),
        Some(Reason::TooDeep)
    );
    let declared = shape("a.b.c = 'json'");
    let message = |depth| format!("{{\"a\":{{\"b\":{{\"c\":{}}}}}}}", lists(depth));
    assert_eq!(reason(&declared, message(61).as_bytes()), None);
    assert_eq!(
        reason(&declared, message(62).as_bytes()),
        Some(Reason::TooDeep)
    );
}

#[test]
fn number_out_of_range_is_refused() {
    for value in [
        "1e308",
        "-1.7976931348623157e308",
        "5e-324",
        "-2.2250738585072011e-308",
        "0e999999",
        "0.0e-999999",
    ] {
        check_value(value, None);
    }
    let long_zero = format!("0.{}", "0".repeat(1000));
    check_value(&long_zero, None);
    let nines = "9".repeat(400);
    let tiny = format!("0.{}1", "0".repeat(400));
    for value in [
        "1e309",
        "-1e400",
        "1.7976931348623159e308",
        "1e-400",
        "-2e-324",
        "1e99999999999999999999",
        &nines,
        &tiny,
    ] {
        check_value(value, Some(Reason::NumberOutOfRange));
        for kind in ["double", "bigint"] {
            let message = format!("{{\"a\":{value}}}");
            let found = reason(&shape(&format!("a = '{kind}'")), message.as_bytes());
            assert_eq!(found, Some(Reason::NumberOutOfRange), "{value} as {kind}");
        }
    }
}

#[test]
fn string_beyond_64_kib_is_refused() {
    let limit = 64 * 1024;
    let cases = [
        ("a".repeat(limit), None),
        ("a".repeat(limit + 1), Some(Reason::StringTooLong)),
        ("é".repeat(limit / 2), None),
        ("é".repeat(limit / 2 + 1), Some(Reason::StringTooLong)),
        // Escapes are resolved first.
        ("\\u0041".repeat(limit), None),
        ("\\u0041".repeat(limit + 1), Some(Reason::StringTooLong)),
        (
            format!("{}\\n", "a".repeat(limit)),
            Some(Reason::StringTooLong),
        ),
        (
            format!("\\n{}", "a".repeat(limit)),
            Some(Reason::StringTooLong),
        ),
        (format!("\\n{}", "a".repeat(limit - 1)), None),
    ];
    for (text, expected) in cases {
        check_value(&format!("\"{text}\""), expected);
        check_value(&format!("{{\"{text}\":1}}"), expected);
        let message = format!("{{\"a\":\"{text}\"}}");
        assert_eq!(reason(&shape("a = 'text'"), message.as_bytes()), expected);
        let message = format!("{{\"{text}\":\"a\"}}");
        assert_eq!(reason(&shape("a = 'text'"), message.as_bytes()), expected);
        assert_eq!(
            reason(
                &shape(&format!("'{}' = 'text'", "a".repeat(limit + 1))),
                message.as_bytes()
            ),
            expected
        );
    }
}

#[test]
fn scalar_decodes_to_its_declared_type() {
    let all = "b = 'boolean'\nd = 'double'\ni = 'bigint'\nj = 'json'\nt = 'text'";
    check(all, "{}", "{b: , d: , i: , j: , t: }");
    check(
        all,
        r#"{"b":null,"d":null,"i":null,"j":null,"t":null}"#,
        "{b: , d: , i: , j: , t: }",
    );
    check(
        all,
        r#"{"t":"x","j":{"y" : [1, "z"]},"i":7,"d":1,"b":true}"#,
        r#"{b: true, d: 1.0, i: 7, j: {"y" : [1, "z"]}, t: x}"#,
    );
    check("t = 'text'", r#"{"t":""}"#, "{t: }");
    check(
        "t = 'text'",
        r#"{"t":"a\"\\\/\b\f\n\r\té😀\u00e9"}"#,
        "{t: a\"\\/\u{8}\u{c}\n\r\té😀é}",
    );
    check("j = 'json'", r#"{"j" : "a\u0062" }"#, r#"{j: "a\u0062"}"#);
    check("j = 'json'", "{\"j\": \t-1.50e+2\n}", "{j: -1.50e+2}");
    for (number, expected) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e5", "0"),
        ("4.0", "4"),
        ("1e3", "1000"),
        ("0.4e1", "4"),
        ("400e-2", "4"),
        ("-12.50e1", "-125"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775808.00", "-9223372036854775808"),
        ("9007199254740993.0", "9007199254740993"),
        ("922337203685477580.7e1", "9223372036854775807"),
        ("0.00000000000000000000000000009e29", "9"),
    ] {
        check(
            "i = 'bigint'",
            &format!("{{\"i\":{number}}}"),
            &format!("{{i: {expected}}}"),
        );
    }
}

#[test]
fn value_of_another_type_is_refused() {
    let values = ["true", "1.5", "7", "\"7\"", "\"\"", "[]", "{}"];
    for (kind, fitting) in [
        ("'boolean'", &["true"][..]),
        ("'double'", &["1.5", "7"]),
        ("'bigint'", &["7"]),
        ("'text'", &["\"7\"", "\"\""]),
        ("['text']", &["[]"]),
        ("{ b = 'text' }", &["{}"]),
    ] {
        for value in values {
            let message = format!("{{\"a\":{value}}}");
            let expected = (!fitting.contains(&value)).then_some(Reason::WrongType);
            assert_eq!(
                reason(&shape(&format!("a = {kind}")), message.as_bytes()),
                expected,
                "{value} as {kind}"
            );
        }
    }
    for number in [
        "9223372036854775808",
        "-9223372036854775809",
        "1e19",
        "1e300",
        "0.1",
        "4.01",
        "5e-324",
        "10000000000000000000.5",
    ] {
        let message = format!("{{\"a\":{number}}}");
        assert_eq!(
            reason(&shape("a = 'bigint'"), message.as_bytes()),
            Some(Reason::WrongType),
            "{number}"
        );
    }
}

#[test]
fn objects_and_lists_decode_to_structs_and_lists() {
    let declared = "[a]\nb.c = 'bigint'\nd = 'text'\n[[e]]\nf = 'bigint'\ng = ['text']";
    check(declared, "{}", "{a: , e: }");
    check(declared, r#"{"a":{},"e":[]}"#, "{a: {b: , d: }, e: []}");
    check(
        declared,
        r#"{"e":[{"g":["x",null],"f":1},null,{}],"a":{"d":"y","b":{"c":5}}}"#,
        "{a: {b: {c: 5}, d: y}, e: [{f: 1, g: [x, ]}, , {f: , g: }]}",
    );
    check(
        "a = [['bigint']]",
        r#"{"a":[[1,2],[],null,[null]]}"#,
        "{a: [[1, 2], [], , []]}",
    );
    check("a = {}", r#"{"a":{"b":1}}"#, "{a: {}}");
    check("", r#"{"a":{"b":1}}"#, "{}");
}

#[test]
fn missing_or_null_required_field_is_refused() {
    let missing = Some(Reason::MissingField);
    let null = Some(Reason::NullField);
    let weather = "weather.main.temp = 'double not null'\nweather.rain.1h = 'double'";
    let list = "[['list!']]\nmain.aqi = 'bigint not null'";
    let section = "['info!']\nrain = 'double'";
    for (declaration, message, expected) in [
        (weather, r#"{"weather":{"main":{"temp":1}}}"#, None),
        (weather, "{}", missing),
        (weather, r#"{"weather":null}"#, null),
        (weather, r#"{"weather":{}}"#, missing),
        (weather, r#"{"weather":{"main":null}}"#, null),
        (weather, r#"{"weather":{"main":{"x":1}}}"#, missing),
        (weather, r#"{"weather":{"main":{"temp":null}}}"#, null),
        (
            weather,
            r#"{"cod":401,"message":"Invalid API key"}"#,
            missing,
        ),
        (list, r#"{"list":[]}"#, None),
        (list, r#"{"list":[{"main":{"aqi":3}}]}"#, None),
        (list, "{}", missing),
        (list, r#"{"list":null}"#, null),
        (list, r#"{"list":[null]}"#, null),
        (list, r#"{"list":[{"main":{"aqi":3}},{}]}"#, missing),
        (section, r#"{"info":{}}"#, None),
        (section, r#"{"info":{"rain":null}}"#, None),
        (section, "{}", missing),
        (section, r#"{"info":null}"#, null),
        ("a = ['text']", r#"{"a":[null]}"#, None),
        ("a = ['text not null']", r#"{"a":[null]}"#, null),
        ("a = ['text not null']", "{}", None),
        ("a = 'json not null'", r#"{"a":null}"#, null),
        ("a = 'json not null'", r#"{"a":"null"}"#, None),
    ] {
        assert_eq!(
            reason(&shape(declaration), message.as_bytes()),
            expected,
            "{message} with {declaration}"
        );
    }
}

#[test]
fn refusal_names_the_field() {
    let declared = "weather.main.temp = 'double not null'\n[[list]]\naqi = 'bigint not null'\n'odd name' = 'text'";
    check(declared, "", "empty: byte 0: nothing but white space");
    check(
        declared,
        "[1]",
        "not_an_object: byte 0: a list where the message is to be an object",
    );
    check(
        declared,
        r#"{"weather":{"main":{"temp":"21.5"}}}"#,
        "wrong_type: weather.main.temp, byte 27: text \"21.5\" where double is declared",
    );
    check(
        declared,
        r#"{"list":[{"aqi":1},{"aqi":2.5}]}"#,
        "wrong_type: list[1].aqi, byte 26: 2.5 where bigint is declared",
    );
    check(
        declared,
        r#"{"list":{}}"#,
        "wrong_type: list, byte 8: an object where a list is declared",
    );
    check(
        declared,
        r#"{"weather":{"main":{}}}"#,
        "missing_field: weather.main.temp, byte 19: the object that begins here lacks it",
    );
    check(
        declared,
        r#"{"weather":{"main":null}}"#,
        "null_field: weather.main, byte 19: null where a value is required",
    );
    check(
        declared,
        r#"{"list":[{"odd name":1}]}"#,
        "wrong_type: list[0].\"odd name\", byte 21: 1 where text is declared",
    );
}

#[test]
fn refusal_names_the_offset() {
    check(
        "",
        r#"{"x y":[{"a\nb":1e999}]}"#,
        "number_out_of_range: \"x y\"[0].\"a\\\\nb\", byte 16: no double can hold 1e999",
    );
    check(
        "",
        r#"{"x":{"y":1,"y":2}}"#,
        "duplicate_key: x.y, byte 12: the object has this key already",
    );
    check(
        "",
        r#"{"x":NaN}"#,
        "invalid_json: x, byte 5: expected a value, found \"N\"",
    );
    check(
        "",
        r#"{"x":1"#,
        "invalid_json: byte 6: expected \",\" or \"}\" of an object, found the end of the message",
    );
    check(
        "",
        "{} \u{1}\"",
        "trailing_bytes: byte 3: the message has ended, found \"\\u{1}\\\"\"",
    );
    check(
        "",
        r#"{"x":"\q"}"#,
        "invalid_json: x, byte 6: unknown escape \"\\\\q\"",
    );
    check(
        "",
        r#"{"x":"\ud800"}"#,
        "lone_surrogate: x, byte 6: \\ud800 is half a character",
    );
    let invalid = decode(&Shape::default(), b"{\"x\":\"\xc9t\"}");
    assert_eq!(
        invalid,
        "invalid_utf8: byte 6: invalid UTF-8 at \"\\xc9t\\\"}\""
    );
}

#[test]
fn refusal_detail_is_bounded() {
    let long = "é\u{202e}\"".escape_debug().to_string().repeat(10_000);
    let deep = |key: &str| format!("{}nope", format!("{{\"{key}\":").repeat(60));
    let many = deep("a-key-that-is-neither-long-nor-short");
    for message in [
        format!("\"{}\"", "é".repeat(20_000)),
        format!("{{\"a\":\"{}\"}}", "é".repeat(20_000)),
        format!("{{\"{}\":nope}}", "\u{202e}".repeat(20_000)),
        format!("{{\"{0}\":{{}},\"{0}\":1}}", "é".repeat(20_000)),
        format!("{{\"a\":{}}}", "9".repeat(20_000)),
        format!("{{}}{long}"),
        deep(
            "\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}",
        ),
        many.clone(),
    ] {
        let refusal = Decoder::new(&shape("a = 'bigint'"))
            .push(message.as_bytes())
            .expect_err("malformed");
        let detail = refusal.detail;
        assert!(detail.len() < 800, "{} bytes: {detail}", detail.len());
        assert!(!detail.contains(['\u{202e}', '\n']), "{detail}");
    }
    let refusal = Decoder::new(&Shape::default())
        .push(many.as_bytes())
        .expect_err("malformed");
    let expected =
        "a-key-that-is-neither-long-nor-short.a-key-that-is-neither-long-nor-short…, byte ";
    assert!(refusal.detail.starts_with(expected), "{}", refusal.detail);
}

#[test]
fn captured_field_is_returned_as_range() {
    let check = |message: &str, expected: &str| {
        let mut decoder = Decoder::capturing(&shape("a = 'bigint'\nvalue.b = 'bigint'"), "value");
        let captured = decoder.push(message.as_bytes()).expect("well formed");
        assert_eq!(
            captured.map_or("", |range| &message[range]),
            expected,
            "{message}"
        );
    };
    check("{}", "");
    check(r#"{"a":1}"#, "");
    check(
        r#"{"a":1,"value": {"b" : 1, "value" : 5} }"#,
        r#"{"b" : 1, "value" : 5}"#,
    );
    check(r#"{"value":{},"a":1}"#, "{}");
    check(r#"{"x":{"value":{}}}"#, "");
    check(r#"{"v\u0061lue":{"b":1}}"#, r#"{"b":1}"#);
    check(r#"{"value":null}"#, "null");

    // Nesting counts from the captured value, as for a message without an envelope.
    let deep = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let mut decoder = Decoder::capturing(&shape("value.b = 'bigint'"), "value");
    for (depth, expected) in [(63, None), (64, Some(Reason::TooDeep))] {
        let alone = reason(&shape("b = 'bigint'"), deep(depth).as_bytes());
        let enclosed = decoder.push(format!("{{\"value\":{}}}", deep(depth)).as_bytes());
        assert_eq!(alone, expected);
        assert_eq!(enclosed.err().map(|refusal| refusal.reason), expected);
    }
}

#[test]
fn batch_has_rows_of_accepted_messages_only() {
    let mut decoder = Decoder::new(&shape("a = 'bigint'\nb = ['text']\nc.d = 'boolean'"));
    let empty = decoder.finish();
    assert_eq!((empty.len(), decoder.is_empty()), (0, true));
    for _ in 0..2 {
        let before = decoder.bytes();
        for message in [
            "{}",
            r#"{"a":1,"c":{"d":true}}"#,
            r#"{"b":["x","y"]}"#,
            r#"{"c":{}}"#,
        ] {
            decoder.push(message.as_bytes()).expect("well formed");
        }
        assert_eq!(decoder.len(), 4);
        assert!(decoder.bytes() > before);
        let rows = decoder.finish();
        let shown: Vec<String> = (0..rows.len()).map(|index| row(&rows, index)).collect();
        assert_eq!(
            shown,
            [
                "{a: , b: , c: }",
                "{a: 1, b: , c: {d: true}}",
                "{a: , b: [x, y], c: }",
                "{a: , b: , c: {d: }}"
            ]
        );
        assert_eq!(decoder.len(), 0);
    }
}
