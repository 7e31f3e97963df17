//! What the API answers: read once, checked, and passed on unchanged.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

/// Why an answer with status 200 is not what the API documents.
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

/// The API writes its code as a number here and as a string there.
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

/// What every body may say about itself.
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

    /// An object with a `list` in it, as the forecast and the air pollution are.
    pub fn with_list(text: String) -> Result<Self, BodyError> {
        let (section, head) = Self::checked(text)?;
        head.list
            .map(|_| section)
            .ok_or(BodyError::Missing { field: "list" })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reading the head reads all of the text, so what it skips is valid JSON too.
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

/// The message of an error body, or nothing if it is not one.
pub(crate) fn error_message(text: &str) -> String {
    serde_json::from_str::<Head>(text)
        .map(|head| text_of(head.message))
        .unwrap_or_default()
}

/// Parses a whole answer of any shape.
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

/// Export files hold a message per line. Valid JSON has line breaks only between its tokens.
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
    fn a_section_is_passed_on_as_received_but_on_one_line() {
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
    fn what_is_no_section_is_refused_with_the_reason() {
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
    fn an_error_body_may_be_anything() {
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
