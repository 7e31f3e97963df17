//! Escapes the content of messages for a terminal, whose cursor and colours it must not change.

use std::fmt::Write as _;

/// Escapes every control character, for text on one line.
pub(super) fn printable(text: &str) -> String {
    escape(text, |_| false)
}

/// Escapes bytes that are not UTF-8, and control characters other than line ends and tabs.
pub(super) fn escaped(value: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in value.utf8_chunks() {
        shown.push_str(&escape(chunk.valid(), |char| matches!(char, '\n' | '\t')));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && !is_kept(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{escaped, printable};

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\u{1b}[31m\nb é"), "a\\u{1b}[31m\\nb é");
        assert_eq!(escaped(b"a\tb\n\x1b\xff\xc3\xa9"), "a\tb\n\\u{1b}\\xffé");
    }
}
