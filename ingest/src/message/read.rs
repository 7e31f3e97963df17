//! One pass over one message: every byte is checked, declared fields are written to their columns
//! on the way.

use std::ops::Range;

use super::column::{Column, List, Object, Slot, Texts};
use super::keys::{Undeclared, duplicate, fingerprint};
use super::refusal::{Fault, Reason, quoted};
use super::scan::{Raw, Scanner};

/// Objects and lists that may be open at one place, the message itself being the first.
const DEPTH_MAX: usize = 64;

/// What reading needs beside the columns, kept from message to message for its memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    undeclared: Undeclared,
    /// A string with escapes that is not written to a column.
    text: Vec<u8>,
    /// Objects read so far: the number of the last one.
    objects: u64,
}

/// A message that is being read.
pub(super) struct Reader<'a, 'm> {
    scanner: Scanner<'m>,
    scratch: &'a mut Scratch,
    /// The top-level field whose place is wanted. Its value is a message of its own: levels are
    /// counted from there.
    captured_field: Option<usize>,
    captured: Option<Range<usize>>,
}

impl<'a, 'm> Reader<'a, 'm> {
    pub(super) fn new(
        message: &'m [u8],
        scratch: &'a mut Scratch,
        captured_field: Option<usize>,
    ) -> Result<Self, Box<Fault>> {
        scratch.undeclared.clear();
        Ok(Self {
            scanner: Scanner::new(message)?,
            scratch,
            captured_field,
            captured: None,
        })
    }

    /// Reads the whole message into the row and tells where the captured field is.
    pub(super) fn message(
        mut self,
        root: &mut Object,
        row: usize,
    ) -> Result<Option<Range<usize>>, Box<Fault>> {
        let first = self.scanner.token();
        let at = self.scanner.at;
        if self.scanner.is_at_end() {
            return Err(Fault::new(Reason::Empty, at, "nothing but white space"));
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
            return Err(Fault::new(Reason::TrailingBytes, self.scanner.at, what));
        }
        match first {
            b'{' => Ok(self.captured),
            _ => Err(Fault::new(
                Reason::NotAnObject,
                at,
                format!("{} where the message is to be an object", self.found_at(at)),
            )),
        }
    }

    /// Reads the object that starts here. `depth` counts what is open around it.
    fn object<const ROOT: bool>(
        &mut self,
        object: &mut Object,
        row: usize,
        depth: usize,
    ) -> Result<(), Box<Fault>> {
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

    /// Passes the opening bracket of an object or a list and tells where it was.
    #[inline]
    fn open(&mut self, depth: usize) -> Result<usize, Box<Fault>> {
        let at = self.scanner.at;
        if depth == DEPTH_MAX {
            return Err(Fault::new(
                Reason::TooDeep,
                at,
                format!("more than {DEPTH_MAX} levels of objects and lists"),
            ));
        }
        self.scanner.at += 1;
        Ok(at)
    }

    #[inline]
    fn expect_key(&self) -> Result<(), Box<Fault>> {
        if self.scanner.peek() != b'"' {
            return Err(self.scanner.unexpected("a key in quotes"));
        }
        Ok(())
    }

    /// Passes the key here and its colon, and tells which member it names. The members of the
    /// messages of one topic come in one order, nearly always: the one that followed last time is
    /// tried before the key is even read.
    #[inline(always)]
    fn key(
        &mut self,
        object: &mut Object,
        previous: Option<usize>,
    ) -> Result<Option<usize>, Box<Fault>> {
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

    /// Passes a key that was not expected. One that is not declared is remembered.
    #[inline(never)]
    fn other_key(
        &mut self,
        object: &mut Object,
        previous: Option<usize>,
    ) -> Result<Option<usize>, Box<Fault>> {
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

    /// Passes the colon after a key, and the white space around it.
    #[inline]
    fn colon(&mut self) -> Result<(), Box<Fault>> {
        self.scanner.token();
        self.scanner.expect(b':', "\":\" after a key")?;
        self.scanner.token();
        Ok(())
    }

    /// Reads the value of a declared field of an object around which `depth` others are open.
    #[inline]
    fn member(
        &mut self,
        slot: &mut Slot,
        row: usize,
        depth: usize,
        captured: bool,
    ) -> Result<(), Box<Fault>> {
        if !captured {
            return self.value(slot, row, depth + 1);
        }
        let from = self.scanner.at;
        self.value(slot, row, 0)?;
        self.captured = Some(from..self.scanner.at);
        Ok(())
    }

    /// Reads the value here into the slot.
    fn value(&mut self, slot: &mut Slot, row: usize, depth: usize) -> Result<(), Box<Fault>> {
        let at = self.scanner.at;
        match (&mut slot.column, self.scanner.peek()) {
            (_, b'n') => {
                self.scanner.literal("null")?;
                if slot.required {
                    return Err(Fault::new(
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
                // A value that is no JSON at all is refused for that.
                self.skip(depth)?;
                return Err(self.wrong_type(at, declared));
            }
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, column: &mut Texts, row: usize) -> Result<(), Box<Fault>> {
        let raw = self.scanner.string()?;
        if raw.escaped {
            self.scanner.unescape(raw, column.open())?;
            column.end(row);
        } else {
            column.set(row, &self.scanner.bytes()[raw.from..raw.to]);
        }
        Ok(())
    }

    fn list(&mut self, list: &mut List, row: usize, depth: usize) -> Result<(), Box<Fault>> {
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
    fn skip(&mut self, depth: usize) -> Result<(), Box<Fault>> {
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

    fn skip_object(&mut self, depth: usize) -> Result<(), Box<Fault>> {
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

    /// Passes a key where nothing is declared, and its colon.
    #[inline]
    fn undeclared_key(&mut self) -> Result<(), Box<Fault>> {
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

    fn skip_list(&mut self, depth: usize) -> Result<(), Box<Fault>> {
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
    fn resolved(&mut self, raw: Raw) -> Result<(), Box<Fault>> {
        self.scratch.text.clear();
        self.scanner.unescape(raw, &mut self.scratch.text)
    }

    #[cold]
    fn out_of_range(&self, at: usize) -> Box<Fault> {
        let found = quoted(&self.scanner.bytes()[at..self.scanner.at]);
        Fault::new(
            Reason::NumberOutOfRange,
            at,
            format!("no double can hold {}", found.trim_matches('"')),
        )
    }

    #[cold]
    fn wrong_type(&self, at: usize, declared: &str) -> Box<Fault> {
        let found = self.found_at(at);
        Fault::new(
            Reason::WrongType,
            at,
            format!("{found} where {declared} is declared"),
        )
    }

    /// The value from `at` to here in the words of the declarations.
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

/// The first required member that the object of this number did not have.
#[cold]
fn missing(object: &Object, number: u64, start: usize) -> Box<Fault> {
    let absent = object
        .members
        .iter()
        .find(|member| member.slot.required && member.seen_in != number);
    let name = absent.map_or("", |member| &member.name);
    Fault::new(
        Reason::MissingField,
        start,
        "the object that begins here lacks it",
    )
    .in_field(name.as_bytes())
}
