//! From the bytes of an answer to a section of the message, unchanged.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

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
    message: Option<Box<RawValue>>,
    list: Option<IgnoredAny>,
}

/// A section of the message: a JSON object exactly as received, on one line.
pub(crate) fn section(text: &str) -> Result<Box<RawValue>, BodyError> {
    object(text).map(|(raw, _)| raw)
}

/// A section that holds a list: the forecast and the air pollution.
pub(crate) fn list_section(text: &str) -> Result<Box<RawValue>, BodyError> {
    let (raw, head) = object(text)?;
    head.list
        .map(|_| raw)
        .ok_or(BodyError::Missing { field: "list" })
}

fn object(text: &str) -> Result<(Box<RawValue>, Head), BodyError> {
    let raw: Box<RawValue> = parse(text)?;
    let mut head: Head = parse(raw.get())?;
    match head.cod.take().map(Code::into_text) {
        Some(code) if code != "200" => Err(BodyError::Disguised {
            code,
            message: text_of(head.message),
        }),
        _ => Ok((on_one_line(raw), head)),
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

fn text_of(message: Option<Box<RawValue>>) -> String {
    message
        .map(|raw| {
            serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
        })
        .unwrap_or_default()
}

/// Export files hold a message per line. Valid JSON has line breaks only between its tokens.
fn on_one_line(raw: Box<RawValue>) -> Box<RawValue> {
    if !raw.get().contains(['\n', '\r']) {
        return raw;
    }
    let text = raw.get().replace(['\n', '\r'], "");
    RawValue::from_string(text).expect("removing space between tokens keeps JSON valid")
}

#[cfg(test)]
mod tests {
    use super::{BodyError, error_message, list_section, section};

    #[test]
    fn a_section_is_passed_on_as_received_but_on_one_line() {
        for (text, expected) in [
            (
                r#"{"b":1,"a":12.0,"x":{"neu":"é"}}"#,
                r#"{"b":1,"a":12.0,"x":{"neu":"é"}}"#,
            ),
            (r#"{"cod":"200","n":1e400}"#, r#"{"cod":"200","n":1e400}"#),
            (
                " {\n  \"cod\": 200,\r\n  \"t\": \"a\\nb\"\n}\n",
                "{  \"cod\": 200,  \"t\": \"a\\nb\"}",
            ),
        ] {
            assert_eq!(section(text).expect(text).get(), expected);
        }
        assert!(list_section(r#"{"list":[]}"#).is_ok());
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
            ("\"text\"", "lacks what"),
            ("{}", "lacks \"list\""),
            (r#"{"list":null}"#, "lacks \"list\""),
            (
                r#"{"cod":"404","message":"city not found"}"#,
                "code 404 \"city not found\"",
            ),
            (r#"{"cod":429,"message":0}"#, "code 429 \"0\""),
        ] {
            let error: BodyError = list_section(text).expect_err(text);
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
