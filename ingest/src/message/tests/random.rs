//! Random messages, valid and damaged, from a fixed seed. The decoder must agree with the oracle on
//! each, and a refused message must leave no trace.

use arrow::array::{Array, ArrayData, StructArray};

use super::oracle::{Node, assert_row, message_fits};
use super::shape;
use crate::message::shape::{Declared, Kind, Shape};
use crate::message::{Decoder, Reason};

const DECLARED: &str = r#"
b = "boolean"
i = "bigint not null"
j = "json"
t = "text"
long_field_name_of_some_length = "double"

[o]
d = "double"
"t\"\\" = "text"
l = ["bigint"]

[["l!"]]
d = "double not null"
i = "bigint"
o.t = "text"
l = [["text"]]
"#;

#[test]
fn decoder_agrees_with_oracle_on_random_messages() {
    for (seed, shape) in [
        (1, shape(DECLARED)),
        (2, Shape::default()),
        (3, shape("j = 'json'\no = {}")),
    ] {
        let mut random = Random(seed);
        let mut counts = [0; 2];
        for _ in 0..200 {
            let messages: Vec<Vec<u8>> = (0..64).map(|_| message(&mut random, &shape)).collect();
            for accepted in check(&shape, &messages) {
                counts[usize::from(accepted)] += 1;
            }
        }
        assert!(
            counts.iter().all(|&count| count > 2_000),
            "{counts:?} refused and accepted"
        );
    }
}

/// Decodes the messages into one batch, and returns whether each was accepted.
fn check(shape: &Shape, messages: &[Vec<u8>]) -> Vec<bool> {
    let (mut all, mut only_accepted) = (Decoder::new(shape), Decoder::new(shape));
    let mut nodes = Vec::new();
    let mut accepted = Vec::new();
    for message in messages {
        let pushed = all.push(message);
        let shown = String::from_utf8_lossy(message);
        let expected = serde_json::from_slice::<Node>(message).ok();
        let expected = expected.filter(|node| {
            message_fits(shape, node) && !node.has_duplicate_keys() && node.depth() <= 64
        });
        match (&pushed, expected) {
            (Ok(_), Some(node)) => {
                only_accepted
                    .push(message)
                    .expect("it was accepted by the other decoder");
                nodes.push(node);
            }
            (Err(_), None) => {}
            (Err(refusal), Some(_)) if refusal.reason == Reason::NumberOutOfRange => {
                assert!(
                    shown.contains("e-") || shown.contains("E-"),
                    "{refusal}: {shown}"
                );
            }
            (Ok(_), None) => panic!("accepted: {shown}"),
            (Err(refusal), Some(_)) => panic!("{refusal}: {shown}"),
        }
        accepted.push(pushed.is_ok());
    }
    assert_eq!(all.len(), nodes.len());
    let (rows, untouched) = (all.finish(), only_accepted.finish());
    assert_eq!(
        buffers(&rows),
        buffers(&untouched),
        "a refused message left a trace"
    );
    for (row, node) in nodes.iter().enumerate() {
        assert_row(shape, &rows, row, node);
    }
    accepted
}

/// All buffers of an array.
fn buffers(rows: &StructArray) -> Vec<Vec<u8>> {
    fn collect(data: &ArrayData, buffers: &mut Vec<Vec<u8>>) {
        buffers.extend(data.nulls().map(|nulls| nulls.buffer().to_vec()));
        buffers.extend(data.buffers().iter().map(|buffer| buffer.to_vec()));
        for child in data.child_data() {
            collect(child, buffers);
        }
    }
    let mut all = Vec::new();
    collect(&rows.to_data(), &mut all);
    all
}

/// A generator of our own, so that an upgrade of a library does not change the messages.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

fn message(random: &mut Random, shape: &Shape) -> Vec<u8> {
    let mut text = String::new();
    blank(random, &mut text);
    match random.below(100) {
        0 => any(random, &mut text, 0),
        1 => {
            let depth = 60 + random.below(10);
            text.extend([
                "{\"j\":",
                "[".repeat(depth).as_str(),
                "]".repeat(depth).as_str(),
                ",\"i\":1,\"l\":[]}",
            ]);
        }
        _ => object(random, &mut text, shape, 0),
    }
    blank(random, &mut text);
    let mut bytes = text.into_bytes();
    if random.one_in(3) {
        damage(random, &mut bytes);
    }
    bytes
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    const DAMAGE: &[u8] = b"{}[]\",:\\/0123456789eE+-.truefalsn \n\t\x00\x1f\x7f\x80\xc3\xff";
    if bytes.is_empty() {
        return;
    }
    for _ in 0..=random.below(2) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, random.pick(DAMAGE)),
            3 => bytes[at] ^= 1 << random.below(8),
            _ => bytes[at] = random.pick(DAMAGE),
        }
        if bytes.is_empty() {
            return;
        }
    }
}

/// An object, mostly with the declared fields, in any order.
fn object(random: &mut Random, text: &mut String, shape: &Shape, depth: usize) {
    let mut members: Vec<Option<(&String, &Declared)>> = shape.fields.iter().map(Some).collect();
    members.retain(|member| {
        member.is_some_and(|(_, declared)| declared.is_required()) || !random.one_in(4)
    });
    for _ in 0..random.pick(&[0, 0, 1, 2, 3, 20]) {
        members.push(None);
    }
    for index in 0..members.len() {
        let other = random.below(members.len());
        if random.one_in(3) {
            members.swap(index, other);
        }
    }
    text.push('{');
    for (index, member) in members.into_iter().enumerate() {
        blank(random, text);
        if index > 0 {
            text.push(',');
            blank(random, text);
        }
        match member {
            Some((name, declared)) => {
                string(random, text, name);
                colon(random, text);
                value(random, text, declared, depth + 1);
            }
            None => {
                undeclared_key(random, text);
                colon(random, text);
                any(random, text, depth + 1);
            }
        }
    }
    blank(random, text);
    text.push('}');
}

fn colon(random: &mut Random, text: &mut String) {
    blank(random, text);
    text.push(':');
    blank(random, text);
}

/// Mostly long keys, so that duplicates are rare, and sometimes declared names.
fn undeclared_key(random: &mut Random, text: &mut String) {
    let key = match random.below(40) {
        0 => "i".to_owned(),
        1 => "long_field_name_of_some_length".to_owned(),
        2 => String::new(),
        _ => format!(
            "{}-key {}",
            random.pick(&["x", "é", "\n"]),
            random.below(2_000)
        ),
    };
    string(random, text, &key);
}

fn value(random: &mut Random, text: &mut String, declared: &Declared, depth: usize) {
    if random.one_in(60) {
        return any(random, text, depth);
    }
    match &declared.kind {
        _ if random.one_in(if declared.is_required() { 100 } else { 6 }) => text.push_str("null"),
        Kind::Boolean => text.push_str(random.pick(&["true", "false"])),
        Kind::Bigint => integer(random, text),
        Kind::Double => number(random, text),
        Kind::Text => words(random, text),
        Kind::Json => any(random, text, depth),
        Kind::Object(shape) => object(random, text, shape, depth),
        Kind::List(element) => list(random, text, |random, text| {
            value(random, text, element, depth + 1)
        }),
    }
}

fn list(random: &mut Random, text: &mut String, mut item: impl FnMut(&mut Random, &mut String)) {
    text.push('[');
    for index in 0..random.below(4) {
        blank(random, text);
        if index > 0 {
            text.push(',');
            blank(random, text);
        }
        item(random, text);
    }
    blank(random, text);
    text.push(']');
}

fn any(random: &mut Random, text: &mut String, depth: usize) {
    match random.below(if depth > 5 { 6 } else { 8 }) {
        0 => text.push_str("null"),
        1 => text.push_str(random.pick(&["true", "false"])),
        2 | 3 => number(random, text),
        4 | 5 => words(random, text),
        6 => list(random, text, |random, text| any(random, text, depth + 1)),
        _ => object(random, text, &Shape::default(), depth),
    }
}

/// An integer in a random notation.
fn integer(random: &mut Random, text: &mut String) {
    digits(random, text);
    text.push_str(random.pick(&["", "", "", "", ".0", ".000", "e0", "e3", "E+2", "00e-2"]));
}

fn number(random: &mut Random, text: &mut String) {
    text.push_str(random.pick(&["", "", "-"]));
    digits(random, text);
    if random.one_in(2) {
        text.push('.');
        digits(random, text);
    }
    text.push_str(random.pick(&["", "", "", "e5", "e-7", "E20", "e-200", "e290"]));
}

fn digits(random: &mut Random, text: &mut String) {
    let bits = random.below(31);
    text.push_str(&random.below(1 << bits).to_string());
}

fn words(random: &mut Random, text: &mut String) {
    let mut word = String::new();
    for _ in 0..random.below(4) {
        word.push_str(random.pick(&[
            "",
            "a",
            "word",
            "longer words",
            "é",
            "日本",
            "😀",
            "\"",
            "\\",
            "\n",
            "\u{1}",
            "/",
        ]));
    }
    string(random, text, &word);
}

/// The string in quotes; each character is literal or escaped.
fn string(random: &mut Random, text: &mut String, content: &str) {
    text.push('"');
    for char in content.chars() {
        match char {
            '"' | '\\' if random.one_in(2) => text.extend(['\\', char]),
            '/' if random.one_in(2) => text.push_str("\\/"),
            '\n' if random.one_in(2) => text.push_str("\\n"),
            _ if matches!(char, '"' | '\\' | '\0'..'\u{20}') || random.one_in(20) => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => text.push(char),
        }
    }
    text.push('"');
}

fn blank(random: &mut Random, text: &mut String) {
    text.push_str(random.pick(&["", "", "", "", " ", " ", "  ", "\n", "\t\r\n "]));
}
