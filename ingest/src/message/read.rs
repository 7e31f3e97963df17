//! Reads a message in one pass: validates every byte, and writes declared fields to their columns.

use std::ops::Range;

use super::column::{Column, List, Object, Slot, Texts};
use super::keys::{Undeclared, duplicate, fingerprint};
use super::refusal::{DecodeError, Reason, quoted};
use super::scan::{Raw, Scanner};

/// Limit of nesting. The message itself is the first level.
const DEPTH_MAX: usize = 64;

/// Buffers of the reader, kept between messages to save allocations.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    undeclared: Undeclared,
    /// The resolved text of a string that goes to no column.
    text: Vec<u8>,
    /// Number of the latest object.
    objects: u64,
}

/// A message that is being read.
pub(super) struct MessageReader<'a, 'm> {
    scanner: Scanner<'m>,
    scratch: &'a mut Scratch,
    /// The top-level field whose byte range is captured. Its value is a message, so nesting counts
    /// from there.
    captured_field: Option<usize>,
    captured: Option<Range<usize>>,
}

impl<'a, 'm> MessageReader<'a, 'm> {
    pub(super) fn new(
        message: &'m [u8],
        scratch: &'a mut Scratch,
        captured_field: Option<usize>,
    ) -> Result<Self, Box<DecodeError>> {
        scratch.undeclared.clear();
        Ok(Self {
            scanner: Scanner::new(message)?,
            scratch,
            captured_field,
            captured: None,
        })
    }

    /// Reads the whole message into the row. Returns the byte range of the captured field.
    pub(super) fn message(
        mut self,
        root: &mut Object,
        row: usize,
    ) -> Result<Option<Range<usize>>, Box<DecodeError>> {
        let first = self.scanner.token();
        let at = self.scanner.at;
        if self.scanner.is_at_end() {
            return Err(DecodeError::new(
                Reason::Empty,
                at,
                "nothing but white space",
            ));
        }
        if first == b'{' {
            self.object::<true>(root, row, 0)?;
        } else {
            self.skip(0)?;
        }
        self.scanner.token();
        if !self.scanner.is_at_end() {
            let found = quoted(&self.scanner.bytes()[self.scanner.at..]);
            let what = format!("the message has ended, found {found}");
            return Err(DecodeError::new(
                Reason::TrailingBytes,
                self.scanner.at,
                what,
            ));
        }
        match first {
            b'{' => Ok(self.captured),
            _ => Err(DecodeError::new(
                Reason::NotAnObject,
                at,
                format!("{} where the message is to be an object", self.found_at(at)),
            )),
        }
    }

    /// Reads the object that starts here, inside `depth` open objects and lists.
    fn object<const ROOT: bool>(
        &mut self,
        object: &mut Object,
        row: usize,
        depth: usize,
    ) -> Result<(), Box<DecodeError>> {
        let start = self.open(depth)?;
        self.scratch.objects += 1;
        let number = self.scratch.objects;
        let mark = self.scratch.undeclared.mark();
        let mut required = 0;
        let mut previous = None;
        if self.scanner.token() != b'}' {
            loop {
                self.expect_key()?;
                let key = self.scanner.at + 1;
                if let Some(index) = self.key(object, previous)? {
                    previous = Some(index);
                    let member = &mut object.members[index];
                    if member.seen_in == number {
                        return Err(duplicate(key).in_field(member.name.as_bytes()));
                    }
                    member.seen_in = number;
                    required += usize::from(member.slot.required);
                    let captured = ROOT && self.captured_field == Some(index);
                    self.member(&mut member.slot, row, depth, captured)
                        .map_err(|fault| fault.in_field(member.name.as_bytes()))?;
                } else {
                    self.skip(depth + 1)
                        .map_err(|fault| fault.in_field(self.scanner.string_at(key)))?;
                }
                if !self.scanner.comma() {
                    break;
                }
            }
        }
        self.scanner.expect(b'}', "\",\" or \"}\" of an object")?;
        self.scratch.undeclared.close(mark, &self.scanner)?;
        if required < object.required {
            return Err(missing(object, number, start));
        }
        if !ROOT {
            object.set(row);
        }
        Ok(())
    }

    /// Skips the opening bracket of an object or a list, and returns its offset.
    #[inline]
    fn open(&mut self, depth: usize) -> Result<usize, Box<DecodeError>> {
        let at = self.scanner.at;
        if depth == DEPTH_MAX {
            return Err(DecodeError::new(
                Reason::TooDeep,
                at,
                format!("more than {DEPTH_MAX} levels of objects and lists"),
            ));
        }
        self.scanner.at += 1;
        Ok(at)
    }

    #[inline]
    fn expect_key(&self) -> Result<(), Box<DecodeError>> {
        if self.scanner.peek() != b'"' {
            return Err(self.scanner.unexpected("a key in quotes"));
        }
        Ok(())
    }

    /// Skips the key here and its colon, and returns the member that it names. Messages of one
    /// topic nearly always have the same order of members, so the member that followed in the
    /// previous message is tried first, without parsing the key.
    #[inline(always)]
    fn key(
        &mut self,
        object: &mut Object,
        previous: Option<usize>,
    ) -> Result<Option<usize>, Box<DecodeError>> {
        let expected = previous.map_or(object.first, |index| object.members[index].next);
        let rest = &self.scanner.bytes()[self.scanner.at + 1..];
        match object.members.get(expected) {
            Some(member) if member.spelling.begins(rest) => {
                self.scanner.at += 1 + member.spelling.len();
                self.colon()?;
                Ok(Some(expected))
            }
            _ => self.other_key(object, previous),
        }
    }

    /// Skips an unexpected key, and records an undeclared one.
    #[inline(never)]
    fn other_key(
        &mut self,
        object: &mut Object,
        previous: Option<usize>,
    ) -> Result<Option<usize>, Box<DecodeError>> {
        let raw = self.scanner.string()?;
        let text = if raw.escaped {
            self.resolved(raw)?;
            &self.scratch.text
        } else {
            &self.scanner.bytes()[raw.from..raw.to]
        };
        let fingerprint = fingerprint(text);
        let found = object.find(text, fingerprint);
        match (found, previous) {
            (None, _) => self.scratch.undeclared.push(raw, text, fingerprint),
            (Some(index), Some(previous)) => object.members[previous].next = index,
            (Some(index), None) => object.first = index,
        }
        self.colon()?;
        Ok(found)
    }

    /// Skips the colon after a key, and the white space around it.
    #[inline]
    fn colon(&mut self) -> Result<(), Box<DecodeError>> {
        self.scanner.token();
        self.scanner.expect(b':', "\":\" after a key")?;
        self.scanner.token();
        Ok(())
    }

    /// Reads the value of a declared field. Its object is inside `depth` others.
    #[inline]
    fn member(
        &mut self,
        slot: &mut Slot,
        row: usize,
        depth: usize,
        captured: bool,
    ) -> Result<(), Box<DecodeError>> {
        if !captured {
            return self.value(slot, row, depth + 1);
        }
        let from = self.scanner.at;
        self.value(slot, row, 0)?;
        self.captured = Some(from..self.scanner.at);
        Ok(())
    }

    /// Reads the value here into the slot.
    fn value(&mut self, slot: &mut Slot, row: usize, depth: usize) -> Result<(), Box<DecodeError>> {
        let at = self.scanner.at;
        match (&mut slot.column, self.scanner.peek()) {
            (_, b'n') => {
                self.scanner.literal("null")?;
                if slot.required {
                    return Err(DecodeError::new(
                        Reason::NullField,
                        at,
                        "null where a value is required",
                    ));
                }
            }
            (Column::Double(column), b'-' | b'0'..=b'9') => {
                let number = self.scanner.number()?;
                column.set(row, number.double().ok_or_else(|| self.out_of_range(at))?);
            }
            (Column::Bigint(column), b'-' | b'0'..=b'9') => {
                let number = self.scanner.number()?;
                match number.bigint() {
                    Some(value) => column.set(row, value),
                    None if number.fits_double() => return Err(self.wrong_type(at, "bigint")),
                    None => return Err(self.out_of_range(at)),
                }
            }
            (Column::Text(column), b'"') => self.text(column, row)?,
            (Column::Boolean(column), b't') => {
                self.scanner.literal("true")?;
                column.set(row, true);
            }
            (Column::Boolean(column), b'f') => {
                self.scanner.literal("false")?;
                column.set(row, false);
            }
            (Column::Object(object), b'{') => self.object::<false>(object, row, depth)?,
            (Column::List(list), b'[') => self.list(list, row, depth)?,
            (Column::Json(column), _) => {
                self.skip(depth)?;
                column.set(row, &self.scanner.bytes()[at..self.scanner.at]);
            }
            (column, _) => {
                let declared = declared_name(column);
                // Malformed JSON takes precedence over a wrong type as the reason.
                self.skip(depth)?;
                return Err(self.wrong_type(at, declared));
            }
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, column: &mut Texts, row: usize) -> Result<(), Box<DecodeError>> {
        let raw = self.scanner.string()?;
        if raw.escaped {
            self.scanner.unescape(raw, column.open())?;
            column.end(row);
        } else {
            column.set(row, &self.scanner.bytes()[raw.from..raw.to]);
        }
        Ok(())
    }

    fn list(&mut self, list: &mut List, row: usize, depth: usize) -> Result<(), Box<DecodeError>> {
        self.open(depth)?;
        let first = list.elements();
        let mut element = first;
        if self.scanner.token() != b']' {
            loop {
                self.value(&mut list.element, element, depth + 1)
                    .map_err(|fault| fault.in_element(element - first))?;
                element += 1;
                if !self.scanner.comma() {
                    break;
                }
            }
        }
        self.scanner.expect(b']', "\",\" or \"]\" of a list")?;
        list.end(row, element);
        Ok(())
    }

    /// Skips the value here, which no table reads.
    fn skip(&mut self, depth: usize) -> Result<(), Box<DecodeError>> {
        let at = self.scanner.at;
        match self.scanner.peek() {
            b'"' => {
                let raw = self.scanner.string()?;
                if raw.escaped {
                    self.resolved(raw)?;
                }
            }
            b'-' | b'0'..=b'9' => {
                if !self.scanner.number()?.fits_double() {
                    return Err(self.out_of_range(at));
                }
            }
            b'{' => self.skip_object(depth)?,
            b'[' => self.skip_list(depth)?,
            b't' => self.scanner.literal("true")?,
            b'f' => self.scanner.literal("false")?,
            b'n' => self.scanner.literal("null")?,
            _ => return Err(self.scanner.unexpected("a value")),
        }
        Ok(())
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), Box<DecodeError>> {
        self.open(depth)?;
        let mark = self.scratch.undeclared.mark();
        if self.scanner.token() != b'}' {
            loop {
                self.expect_key()?;
                let key = self.scanner.at + 1;
                self.undeclared_key()?;
                self.skip(depth + 1)
                    .map_err(|fault| fault.in_field(self.scanner.string_at(key)))?;
                if !self.scanner.comma() {
                    break;
                }
            }
        }
        self.scanner.expect(b'}', "\",\" or \"}\" of an object")?;
        self.scratch.undeclared.close(mark, &self.scanner)
    }

    /// Skips a key and its colon in an object that no table reads.
    #[inline]
    fn undeclared_key(&mut self) -> Result<(), Box<DecodeError>> {
        let raw = self.scanner.string()?;
        let text = if raw.escaped {
            self.resolved(raw)?;
            &self.scratch.text
        } else {
            &self.scanner.bytes()[raw.from..raw.to]
        };
        self.scratch.undeclared.push(raw, text, fingerprint(text));
        self.colon()
    }

    fn skip_list(&mut self, depth: usize) -> Result<(), Box<DecodeError>> {
        self.open(depth)?;
        let mut element = 0;
        if self.scanner.token() != b']' {
            loop {
                self.skip(depth + 1)
                    .map_err(|fault| fault.in_element(element))?;
                element += 1;
                if !self.scanner.comma() {
                    break;
                }
            }
        }
        self.scanner.expect(b']', "\",\" or \"]\" of a list")
    }

    /// Resolves a string with escapes into the scratch text.
    fn resolved(&mut self, raw: Raw) -> Result<(), Box<DecodeError>> {
        self.scratch.text.clear();
        self.scanner.unescape(raw, &mut self.scratch.text)
    }

    #[cold]
    fn out_of_range(&self, at: usize) -> Box<DecodeError> {
        let found = quoted(&self.scanner.bytes()[at..self.scanner.at]);
        DecodeError::new(
            Reason::NumberOutOfRange,
            at,
            format!("no double can hold {}", found.trim_matches('"')),
        )
    }

    #[cold]
    fn wrong_type(&self, at: usize, declared: &str) -> Box<DecodeError> {
        let found = self.found_at(at);
        DecodeError::new(
            Reason::WrongType,
            at,
            format!("{found} where {declared} is declared"),
        )
    }

    /// Describes the value from `at` to here in the terms of declarations.
    fn found_at(&self, at: usize) -> String {
        let bytes = &self.scanner.bytes()[at..self.scanner.at];
        match bytes[0] {
            b'{' => "an object".to_owned(),
            b'[' => "a list".to_owned(),
            b'"' => format!(
                "text {}",
                quoted(bytes[1..].strip_suffix(b"\"").unwrap_or(&bytes[1..]))
            ),
            _ => quoted(bytes).trim_matches('"').to_owned(),
        }
    }
}

fn declared_name(column: &Column) -> &'static str {
    match column {
        Column::Boolean(_) => "boolean",
        Column::Bigint(_) => "bigint",
        Column::Double(_) => "double",
        Column::Text(_) => "text",
        Column::Json(_) => "json",
        Column::Object(_) => "an object",
        Column::List(_) => "a list",
    }
}

/// The error for the first required member that this object lacks.
#[cold]
fn missing(object: &Object, number: u64, start: usize) -> Box<DecodeError> {
    let absent = object
        .members
        .iter()
        .find(|member| member.slot.required && member.seen_in != number);
    let name = absent.map_or("", |member| &member.name);
    DecodeError::new(
        Reason::MissingField,
        start,
        "the object that begins here lacks it",
    )
    .in_field(name.as_bytes())
}
