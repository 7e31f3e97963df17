//! Reading `.env` files.
//!
//! Written here because the usual crate repeats the broken line in its error, secret and all, and
//! replaces `$NAME` by variables of the process behind everyone's back.
//!
//! A line is `NAME=value`, `export NAME=value`, blank, or a `#` comment. A value in single quotes
//! is literal; in double quotes `\n`, `\"`, `\\` and `\$` are escapes; a quoted value may span
//! lines. A value without quotes ends at the line or at a ` #`. Nothing is substituted.

use crate::error::DotenvFault;

/// One `NAME=value`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// A fault here is only for those who need the variable: the file serves other programs too.
    pub(crate) value: Result<String, DotenvFault>,
}

/// Reads every assignment; a line that is none is a fault with its number.
pub(crate) fn parse(text: &str) -> Vec<Result<Assignment, (usize, DotenvFault)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let end = text[start..]
            .find('\n')
            .map_or(text.len(), |length| start + length);
        let current = &text[start..end];
        let number = text[..start].matches('\n').count() + 1;
        start = end + 1;
        if current.trim().is_empty() || current.trim_start().starts_with('#') {
            continue;
        }
        let Some((name, value)) = assignment(current) else {
            found.push(Err((number, DotenvFault::NotAnAssignment)));
            continue;
        };
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                // The value may go on behind this line, so it is read from the whole text.
                let inside = end - value.len() + 1;
                let (value, length) = quoted(&text[inside..], quote);
                start = inside + length + 1;
                value
            }
            _ => unquoted(value),
        };
        found.push(Ok(Assignment {
            name: name.to_owned(),
            line: number,
            value,
        }));
    }
    found
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let name = name
        .strip_prefix("export")
        .map_or(name, |rest| match rest.trim_start() {
            // `exported=1`, and a variable that is itself called `export`.
            stripped if stripped.len() == rest.len() => name,
            stripped => stripped,
        });
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let fits = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(letters);
    fits.then(|| (name, value.trim_start()))
}

fn unquoted(value: &str) -> Result<String, DotenvFault> {
    let is_comment = |(at, c): &(usize, char)| {
        *c == '#'
            && value[..*at]
                .chars()
                .next_back()
                .is_none_or(char::is_whitespace)
    };
    let end = value
        .char_indices()
        .find(is_comment)
        .map_or(value.len(), |(at, _)| at);
    let value = value[..end].trim_end();
    // Other readers of the file would substitute this; taking it as it stands would differ
    // silently.
    if value.contains("${") {
        return Err(DotenvFault::Substitution);
    }
    Ok(value.to_owned())
}

/// Reads from behind a quote to the end of the line that closes it; returns that length too.
fn quoted(text: &str, quote: char) -> (Result<String, DotenvFault>, usize) {
    let mut value = String::new();
    let mut substitutes = false;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => {
                let length = line_length(&text[at..]);
                let behind = text[at + 1..at + length].trim();
                let value = match () {
                    () if !behind.is_empty() && !behind.starts_with('#') => {
                        Err(DotenvFault::BehindQuote)
                    }
                    () if substitutes => Err(DotenvFault::Substitution),
                    () => Ok(value),
                };
                return (value, at + length);
            }
            '\\' if quote == '"' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\' | '$'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => {}
            },
            _ => {
                substitutes |= quote == '"' && text[at..].starts_with("${");
                value.push(character);
            }
        }
    }
    // Nothing closes it: give up this line only.
    (Err(DotenvFault::OpenQuote), line_length(text))
}

fn line_length(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, usize, Result<&str, DotenvFault>)]) {
        let found: Vec<Assignment> = parse(text).into_iter().map(|line| line.unwrap()).collect();
        let expect: Vec<Assignment> = expect
            .iter()
            .map(|(name, line, value)| Assignment {
                name: (*name).to_owned(),
                line: *line,
                value: value.map(str::to_owned),
            })
            .collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn assignments() {
        check("", &[]);
        check("\n# a comment\n  # another\n", &[]);
        check("CITY=Paris", &[("CITY", 1, Ok("Paris"))]);
        check(
            "\u{feff}CITY=Paris\r\nA=\r\n",
            &[("CITY", 1, Ok("Paris")), ("A", 2, Ok(""))],
        );
        check(
            "CITY = New York  # the large one\n",
            &[("CITY", 1, Ok("New York"))],
        );
        check("PASSWORD=a#b$c\\d=e", &[("PASSWORD", 1, Ok("a#b$c\\d=e"))]);
        check("A=#nothing", &[("A", 1, Ok(""))]);
        check(
            "export A=1\nexport=2\nexported=3",
            &[
                ("A", 1, Ok("1")),
                ("export", 2, Ok("2")),
                ("exported", 3, Ok("3")),
            ],
        );
    }

    #[test]
    fn quotes() {
        check(
            "A='x # $y ${z} \\n' # comment",
            &[("A", 1, Ok("x # $y ${z} \\n"))],
        );
        check(
            r#"A="x # \n \" \\ \${z} \w""#,
            &[("A", 1, Ok("x # \n \" \\ ${z} \\w"))],
        );
        check(
            "A=\"two\nlines\"\nB='é'",
            &[("A", 1, Ok("two\nlines")), ("B", 3, Ok("é"))],
        );
        check("A=\"\"", &[("A", 1, Ok(""))]);
    }

    #[test]
    fn faults_stay_with_their_line() {
        let fault = |fault, text: &str| check(text, &[("A", 1, Err(fault)), ("B", 2, Ok("1"))]);
        fault(DotenvFault::OpenQuote, "A='x\nB=1");
        fault(DotenvFault::OpenQuote, "A=\"x\\\nB=1");
        fault(DotenvFault::BehindQuote, "A='x'y\nB=1");
        fault(DotenvFault::Substitution, "A=${C}\nB=1");
        fault(DotenvFault::Substitution, "A=\"x${C}\"\nB=1");
        for text in ["A", "=1", "1A=1", "A B=1", "export A", "A-B=1"] {
            assert_eq!(
                parse(&format!("\n{text}\n")),
                [Err((2, DotenvFault::NotAnAssignment))],
                "{text}"
            );
        }
    }
}
