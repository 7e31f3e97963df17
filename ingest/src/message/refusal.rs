//! Why a message was refused: a closed set of reasons, and a detail that names the place.

use std::fmt::{self, Write};

/// Limit of the bytes that a detail quotes of a key or a value.
const ECHO_BYTES_MAX: usize = 48;

/// Limit of the bytes of a path in a detail. A single key may exceed it when it is escaped.
const PATH_BYTES_MAX: usize = 80;

/// Why a message was refused. The decoder keeps nothing of such a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// Kind of the fault.
    pub reason: Reason,
    /// Place and cause, for users.
    pub detail: String,
}

/// The kinds of malformed messages. Their texts are stored in `dead_letters.reason` and never
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing but white space.
    Empty,
    /// Longer than any batch of columns can hold.
    MessageTooLong,
    InvalidUtf8,
    ByteOrderMark,
    /// Not JSON for any reason without a variant of its own.
    InvalidJson,
    /// Something follows the end of the message.
    TrailingBytes,
    LoneSurrogate,
    DuplicateKey,
    TooDeep,
    StringTooLong,
    /// A double can hold the number only as zero or infinity.
    NumberOutOfRange,
    /// JSON, but not an object.
    NotAnObject,
    WrongType,
    /// A field declared `not null` is absent.
    MissingField,
    /// A field declared `not null` is null.
    NullField,
}

impl Reason {
    pub fn text(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::MessageTooLong => "message_too_long",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::ByteOrderMark => "byte_order_mark",
            Self::InvalidJson => "invalid_json",
            Self::TrailingBytes => "trailing_bytes",
            Self::LoneSurrogate => "lone_surrogate",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::StringTooLong => "string_too_long",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::NotAnObject => "not_an_object",
            Self::WrongType => "wrong_type",
            Self::MissingField => "missing_field",
            Self::NullField => "null_field",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A refusal that travels up through the nested values: each level adds its step to the path.
///
/// Boxed to keep the results of the reading functions small: errors are rare.
#[derive(Debug)]
pub(super) struct DecodeError {
    reason: Reason,
    at: usize,
    what: String,
    /// Innermost step first.
    steps: Vec<String>,
}

impl DecodeError {
    pub(super) fn new(reason: Reason, at: usize, what: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            reason,
            at,
            what: what.into(),
            steps: Vec::new(),
        })
    }

    /// Adds the field with this name, as written in the message or in the declaration, to the path.
    pub(super) fn in_field(mut self: Box<Self>, name: &[u8]) -> Box<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        self.steps.push(match name {
            [_, ..] if name.len() <= ECHO_BYTES_MAX && name.iter().all(plain) => {
                String::from_utf8_lossy(name).into()
            }
            _ => quoted(name),
        });
        self
    }

    pub(super) fn in_element(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.steps.push(format!("[{index}]"));
        self
    }

    pub(super) fn into_refusal(self) -> Refusal {
        let path = self.path();
        let separator = if path.is_empty() { "" } else { ", " };
        Refusal {
            reason: self.reason,
            detail: format!("{path}{separator}byte {}: {}", self.at, self.what),
        }
    }

    /// The path, outermost step first. A long path is cut at its inner end.
    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            if path.len() + step.len() > PATH_BYTES_MAX && !path.is_empty() {
                path.push('…');
                break;
            }
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }
}

/// A piece of a message in quotes: escaped, and cut when it is long.
pub(super) fn quoted(piece: &[u8]) -> String {
    let shown = &piece[..piece.len().min(ECHO_BYTES_MAX)];
    let mut text = String::from("\"");
    for chunk in shown.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\'' => text.push(char),
                _ => text.extend(char.escape_debug()),
            }
        }
        // The cut may split a character, whose bytes are left out.
        if shown.len() == piece.len() {
            for byte in chunk.invalid() {
                write!(text, "\\x{byte:02x}").expect("writing to a string never fails");
            }
        }
    }
    text.push_str(if shown.len() < piece.len() {
        "…\""
    } else {
        "\""
    });
    text
}
