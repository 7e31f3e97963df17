//! What a message holds, as a terminal may show it.

use std::fmt::Write as _;

/// Text for a terminal, on one line: what a message holds must not move the cursor or set colours.
pub(super) fn printable(text: &str) -> String {
    escape(text, |_| false)
}

/// Bytes for a terminal: text as it is, with its line ends and tabs, and everything else as escapes.
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
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("a\u{1b}[31m\nb é"), "a\\u{1b}[31m\\nb é");
        assert_eq!(escaped(b"a\tb\n\x1b\xff\xc3\xa9"), "a\tb\n\\u{1b}\\xffé");
    }
}
