//! Validates messages without decoding them, for callers that store a message as it is.

use super::decoder::Decoder;
use super::refusal::Refusal;
use super::shape::Shape;

/// Checks that messages are well-formed JSON objects, whatever fields they have.
#[derive(Debug)]
pub struct Validator(Decoder);

impl Default for Validator {
    fn default() -> Self {
        Self(Decoder::new(&Shape::of([])))
    }
}

impl Validator {
    /// Validates one message.
    ///
    /// # Errors
    /// The refusal that a decoder of any shape would return.
    pub fn validate(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let validated = self.0.push(message).map(drop);
        // Dropped after each message, so that the rows take no memory.
        drop(self.0.finish());
        validated
    }
}

#[cfg(test)]
mod tests {
    use super::Validator;

    #[test]
    fn validator_accepts_any_well_formed_object() {
        let mut validator = Validator::default();
        let mut check = |message: &str, expected: Option<&str>| {
            let refused = validator.validate(message.as_bytes()).err();
            assert_eq!(refused.map(|r| r.reason.text()), expected, "{message}");
        };
        check("{}", None);
        check(r#"{"a":{"b":[1,2.5,null,"é"]}}"#, None);
        check(r#"{"cod":401,"message":"Invalid API key"}"#, None);
        check("[1]", Some("not_an_object"));
        check("", Some("empty"));
        check(r#"{"a":NaN}"#, Some("invalid_json"));
        check(r#"{"a":"\ud83d"}"#, Some("lone_surrogate"));
        check(r#"{"a":1,"a":1}"#, Some("duplicate_key"));
        check(r#"{"a":1e400}"#, Some("number_out_of_range"));
    }
}
