//! The lexer of RFC 8259: white space, literals, strings and numbers, each validated as it is
//! skipped.

use super::number::Number;
use super::refusal::{DecodeError, Reason, quoted};

/// Limit of a string, in bytes after its escapes are resolved.
pub(super) const STRING_BYTES_MAX: usize = 64 * 1024;

/// A position in a message that only moves forward.
pub(super) struct Scanner<'m> {
    message: &'m str,
    /// Offset of the next byte.
    pub(super) at: usize,
}

/// A skipped string: the bytes between its quotes, and whether these contain escapes.
#[derive(Clone, Copy)]
pub(super) struct Raw {
    /// Offset of the first byte of the text.
    pub(super) from: usize,
    /// Offset behind the text, which is that of the closing quote.
    pub(super) to: usize,
    /// Whether the text contains escapes.
    pub(super) escaped: bool,
}

impl<'m> Scanner<'m> {
    /// Refuses a message that is not UTF-8, or begins with a byte-order mark.
    pub(super) fn new(message: &'m [u8]) -> Result<Self, Box<DecodeError>> {
        let message = str::from_utf8(message).map_err(|error| {
            let at = error.valid_up_to();
            let found = quoted(&message[at..(at + 4).min(message.len())]);
            DecodeError::new(Reason::InvalidUtf8, at, format!("invalid UTF-8 at {found}"))
        })?;
        if message.starts_with('\u{feff}') {
            return Err(DecodeError::new(
                Reason::ByteOrderMark,
                0,
                "starts with a byte-order mark",
            ));
        }
        Ok(Self { message, at: 0 })
    }

    /// The byte here; 0 at the end of the message, since no JSON token starts with it.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.bytes().get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn bytes(&self) -> &'m [u8] {
        self.message.as_bytes()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.message.len()
    }

    /// Skips a comma and the white space around it. Returns whether there was one.
    #[inline]
    pub(super) fn comma(&mut self) -> bool {
        let found = self.token() == b',';
        if found {
            self.at += 1;
            self.token();
        }
        found
    }

    /// Skips white space, and returns the first byte of the next token.
    #[inline]
    pub(super) fn token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Skips `byte`, or fails with the name of what was `expected`.
    #[inline]
    pub(super) fn expect(
        &mut self,
        byte: u8,
        expected: &'static str,
    ) -> Result<(), Box<DecodeError>> {
        if self.peek() != byte {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Skips `text` if it is here. Returns whether it is.
    #[inline]
    pub(super) fn eat(&mut self, text: &[u8]) -> bool {
        let found = self.bytes()[self.at..].starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Skips a literal whose first byte is here.
    #[inline]
    pub(super) fn literal(&mut self, literal: &'static str) -> Result<(), Box<DecodeError>> {
        if self.eat(literal.as_bytes()) {
            Ok(())
        } else {
            Err(self.unexpected(literal))
        }
    }

    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<Number<'m>, Box<DecodeError>> {
        match Number::read(self.message, self.at) {
            Ok((number, end)) => {
                self.at = end;
                Ok(number)
            }
            Err(at) => {
                self.at = at;
                Err(self.unexpected("a digit of a number without leading zeros"))
            }
        }
    }

    /// Skips the string that starts with the quote here. Refuses control characters, and checks the
    /// length of a string without escapes. [`Self::unescape`] validates escapes and the length of
    /// strings that have them.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Raw, Box<DecodeError>> {
        let from = self.at + 1;
        let to = plain_end(self.bytes(), from);
        if self.bytes().get(to) == Some(&b'"') && to - from <= STRING_BYTES_MAX {
            self.at = to + 1;
            let escaped = false;
            return Ok(Raw { from, to, escaped });
        }
        self.escaped_string(from, to)
    }

    /// Skips the rest of a string with escapes, or refuses a plain string that is too long.
    #[inline(never)]
    fn escaped_string(&mut self, from: usize, mut at: usize) -> Result<Raw, Box<DecodeError>> {
        if self.bytes().get(at) == Some(&b'"') {
            return Err(too_long(from));
        }
        while self.bytes().get(at) == Some(&b'\\') {
            // An escaped quote is always right behind the backslash.
            at = plain_end(self.bytes(), (at + 2).min(self.message.len()));
        }
        self.at = at;
        self.expect(b'"', "a character of a string")?;
        let escaped = true;
        Ok(Raw {
            from,
            to: at,
            escaped,
        })
    }

    /// The unresolved text, from `from` on, of a string that was skipped before.
    #[cold]
    pub(super) fn string_at(&self, from: usize) -> &'m [u8] {
        let mut at = plain_end(self.bytes(), from);
        while self.bytes().get(at) == Some(&b'\\') {
            at = plain_end(self.bytes(), (at + 2).min(self.message.len()));
        }
        &self.bytes()[from..at]
    }

    /// Appends the string to `text` with its escapes resolved.
    pub(super) fn unescape(&self, raw: Raw, text: &mut Vec<u8>) -> Result<(), Box<DecodeError>> {
        let bytes = &self.bytes()[..raw.to];
        let room = text.len() + STRING_BYTES_MAX;
        let mut at = raw.from;
        loop {
            let end = plain_end(bytes, at);
            text.extend_from_slice(&bytes[at..end]);
            if text.len() > room {
                return Err(too_long(raw.from));
            }
            if end == raw.to {
                return Ok(());
            }
            at = unescape_one(bytes, end, text)?;
        }
    }

    /// The error for a byte that the grammar does not allow here.
    #[cold]
    pub(super) fn unexpected(&self, expected: &str) -> Box<DecodeError> {
        let what = match self
            .message
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            None => format!("expected {expected}, found the end of the message"),
            Some(found) => {
                let found = quoted(found.encode_utf8(&mut [0; 4]).as_bytes());
                format!("expected {expected}, found {found}")
            }
        };
        DecodeError::new(Reason::InvalidJson, self.at, what)
    }
}

/// Resolves the escape at the backslash `at`, and returns its end. `bytes` end with the string.
fn unescape_one(bytes: &[u8], at: usize, text: &mut Vec<u8>) -> Result<usize, Box<DecodeError>> {
    let byte = match bytes.get(at + 1) {
        Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unescape_unicode(bytes, at, text),
        _ => {
            let found = quoted(&bytes[at..(at + 2).min(bytes.len())]);
            return Err(DecodeError::new(
                Reason::InvalidJson,
                at,
                format!("unknown escape {found}"),
            ));
        }
    };
    text.push(byte);
    Ok(at + 2)
}

fn unescape_unicode(
    bytes: &[u8],
    at: usize,
    text: &mut Vec<u8>,
) -> Result<usize, Box<DecodeError>> {
    let unit = hex4(bytes, at)?;
    let (code, end) = match unit {
        0xd800..=0xdbff if bytes[at + 6..].starts_with(b"\\u") => match hex4(bytes, at + 6)? {
            low @ 0xdc00..=0xdfff => (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), at + 12),
            _ => return Err(lone_surrogate(unit, at)),
        },
        _ => (unit, at + 6),
    };
    let char = char::from_u32(code).ok_or_else(|| lone_surrogate(unit, at))?;
    text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

/// The four hexadecimal digits of the `\u` at `at`.
fn hex4(bytes: &[u8], at: usize) -> Result<u32, Box<DecodeError>> {
    let digits = bytes.get(at + 2..at + 6).unwrap_or_default();
    let value = digits.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(value * 16 + digit)
    });
    value.filter(|_| digits.len() == 4).ok_or_else(|| {
        let found = quoted(&bytes[at..(at + 6).min(bytes.len())]);
        DecodeError::new(Reason::InvalidJson, at, format!("unknown escape {found}"))
    })
}

fn lone_surrogate(unit: u32, at: usize) -> Box<DecodeError> {
    DecodeError::new(
        Reason::LoneSurrogate,
        at,
        format!("\\u{unit:04x} is half a character"),
    )
}

fn too_long(from: usize) -> Box<DecodeError> {
    DecodeError::new(
        Reason::StringTooLong,
        from - 1,
        format!("a string of more than {STRING_BYTES_MAX} bytes"),
    )
}

/// Finds the next quote, backslash or control character, or the end, eight bytes at a time.
#[inline(always)]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    /// Sets the high bit of each zero byte. The bits above the first zero byte may be wrong.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let quote = zeros(word ^ (ONES * b'"' as u64));
        let backslash = zeros(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let special = quote | backslash | control;
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    at + bytes[at..].iter().take_while(|byte| is_plain(byte)).count()
}
