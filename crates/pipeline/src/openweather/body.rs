//! Bodies of responses: parsed once, checked, and kept unchanged.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

/// Why the body of a response with status 200 is not what the API documents.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the answer is not JSON")]
    NotJson {
        #[source]
        source: serde_json::Error,
    },
    #[error("the answer is not UTF-8")]
    NotUtf8 {
        #[source]
        source: std::str::Utf8Error,
    },
    #[error("the answer is an error in disguise: code {code} \"{message}\"")]
    Disguised { code: String, message: String },
    #[error("the answer is no JSON object")]
    NotObject,
    #[error("the answer lacks what it should hold")]
    Shape {
        #[source]
        source: serde_json::Error,
    },
    #[error("the answer lacks \"{field}\"")]
    Missing { field: &'static str },
    #[error("the answer's \"{field}\" is out of range: {value}")]
    Range { field: &'static str, value: i64 },
}

/// The code in a body: some endpoints write a number, others a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    Number(i64),
    Text(String),
}

impl Code {
    fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// The fields that any body may have.
#[derive(Deserialize)]
struct Head {
    cod: Option<Code>,
    message: Option<Value>,
    list: Option<IgnoredAny>,
}

/// A section of the message: one JSON object exactly as received, on one line, and not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section(String);

impl Section {
    pub fn object(text: String) -> Result<Self, BodyError> {
        Self::checked(text).map(|(section, _)| section)
    }

    /// An object with a `list`, as forecast and air pollution have.
    pub fn with_list(text: String) -> Result<Self, BodyError> {
        let (section, head) = Self::checked(text)?;
        head.list
            .map(|_| section)
            .ok_or(BodyError::Missing { field: "list" })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parsing the head also validates the fields that it skips.
    fn checked(text: String) -> Result<(Self, Head), BodyError> {
        let mut head: Head = parse(&text)?;
        if !text.trim_start().starts_with('{') {
            return Err(BodyError::NotObject);
        }
        match head.cod.take().map(Code::into_text) {
            Some(code) if code != "200" => Err(BodyError::Disguised {
                code,
                message: text_of(head.message),
            }),
            _ => Ok((Self(on_one_line(text)), head)),
        }
    }
}

/// The message of an error body; empty for any other body.
pub(crate) fn error_message(text: &str) -> String {
    serde_json::from_str::<Head>(text)
        .map(|head| text_of(head.message))
        .unwrap_or_default()
}

/// Parses a whole body.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, BodyError> {
    serde_json::from_str(text).map_err(|source| match source.classify() {
        serde_json::error::Category::Data => BodyError::Shape { source },
        _ => BodyError::NotJson { source },
    })
}

fn text_of(message: Option<Value>) -> String {
    match message {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Removes line breaks, since export files have one message on each line. Valid JSON has line
/// breaks between tokens only.
fn on_one_line(text: String) -> String {
    let has = |byte| text.as_bytes().contains(&byte);
    if has(b'\n') || has(b'\r') {
        text.replace(['\n', '\r'], "")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Section, error_message};

    #[test]
    fn section_is_kept_unchanged_on_one_line() {
        for (text, expected) in [
            (
                r#"{"b":1,"a":12.0,"x":{"neu":"é"}}"#,
                r#"{"b":1,"a":12.0,"x":{"neu":"é"}}"#,
            ),
            (r#"{"cod":"200","n":1e400}"#, r#"{"cod":"200","n":1e400}"#),
            (
                "{\n  \"cod\": 200,\r\n  \"t\": \"a\\nb\"\n}\n",
                "{  \"cod\": 200,  \"t\": \"a\\nb\"}",
            ),
        ] {
            assert_eq!(
                Section::object(text.to_owned()).expect(text).as_str(),
                expected
            );
        }
        assert!(Section::with_list(r#"{"list":[]}"#.to_owned()).is_ok());
    }

    #[test]
    fn invalid_section_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "not JSON"),
            ("<html>502</html>", "not JSON"),
            (r#"{"list":[1,2"#, "not JSON"),
            ("\u{feff}{}", "not JSON"),
            ("{} {}", "not JSON"),
            ("null", "lacks what"),
            (r#"["200","",[]]"#, "no JSON object"),
            ("\"text\"", "lacks what"),
            ("{}", "lacks \"list\""),
            (r#"{"list":null}"#, "lacks \"list\""),
            (
                r#"{"cod":"404","message":"city not found"}"#,
                "code 404 \"city not found\"",
            ),
            (r#"{"cod":429,"message":0}"#, "code 429 \"0\""),
        ] {
            let error = Section::with_list(text.to_owned()).expect_err(text);
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn message_of_any_error_body_is_read() {
        for (text, expected) in [
            (
                r#"{"cod":"404","message":"city not found"}"#,
                "city not found",
            ),
            (r#"{"cod":401}"#, ""),
            ("<html>", ""),
            ("[1]", ""),
        ] {
            assert_eq!(error_message(text), expected, "{text}");
        }
    }
}
