//! Why a message was refused: a closed set of reasons, and a detail that names the place.

use std::fmt::{self, Write};

/// Bytes of a message that a detail repeats of one key, or of what was found.
const ECHO_BYTES_MAX: usize = 48;

/// Bytes that a detail tells a path in, unless one key alone is longer when it is escaped.
const PATH_BYTES_MAX: usize = 80;

/// A message that is not decoded, and why. It left nothing behind in the decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// Kind of the fault.
    pub reason: Reason,
    /// Place and cause, for people.
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
    /// Not JSON in any other way than those that have a reason of their own.
    InvalidJson,
    /// Something follows the end of the message.
    TrailingBytes,
    LoneSurrogate,
    DuplicateKey,
    TooDeep,
    StringTooLong,
    /// A double can hold the number only as zero or infinity.
    NumberOutOfRange,
    /// JSON, but no object.
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

/// A refusal on its way out of the nested values: each level adds its step to the path.
///
/// Boxed, because every reading function returns one and almost none is ever made.
#[derive(Debug)]
pub(super) struct Fault {
    reason: Reason,
    at: usize,
    what: String,
    /// Innermost step first.
    steps: Vec<String>,
}

impl Fault {
    pub(super) fn new(reason: Reason, at: usize, what: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            reason,
            at,
            what: what.into(),
            steps: Vec::new(),
        })
    }

    /// Says that the fault lies in the field of this name, as it stands in the message or in the
    /// declaration.
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

    /// The steps from the outside in. Of a long path only the outer end is shown.
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
        // The cut may split a character; its half is left out rather than shown as bytes that look
        // broken.
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
