//! Judging without decoding: for who keeps a message as it is.

use super::decoder::Decoder;
use super::refusal::Refusal;
use super::shape::Shape;

/// Says of messages whether they are well-formed objects, with no eye for what is in them.
#[derive(Debug)]
pub struct Judge(Decoder);

impl Default for Judge {
    fn default() -> Self {
        Self(Decoder::new(&Shape::of([])))
    }
}

impl Judge {
    /// # Errors
    /// What a decoder of any shape would refuse the message for.
    pub fn judge(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let judged = self.0.push(message).map(drop);
        // Of its rows nothing is wanted, not even their count.
        drop(self.0.finish());
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::Judge;

    #[test]
    fn any_well_formed_object_is_taken() {
        let mut judge = Judge::default();
        let mut check = |message: &str, expected: Option<&str>| {
            let refused = judge.judge(message.as_bytes()).err();
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
