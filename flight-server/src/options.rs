//! Messages of session options, which arrow-flight does not have. There is one catalog and one schema, and they
//! are in force already: clients that ask for them are told so, and nothing else can be set.

use std::collections::HashMap;

use engine::session::{CATALOG, SCHEMA};

/// What can be asked for, and the one value that each has.
const OPTIONS: [(&str, &str); 2] = [("catalog", CATALOG), ("schema", SCHEMA)];

/// A value; of the kinds that the protocol has, only text is of use here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OptionValue {
    #[prost(string, optional, tag = "1")]
    pub(crate) text: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetRequest {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) errors: HashMap<String, SetError>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SetError {
    #[prost(enumeration = "Reason", tag = "1")]
    pub(crate) reason: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Reason {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) options: HashMap<String, OptionValue>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct CloseResult {
    #[prost(enumeration = "Closing", tag = "1")]
    pub(crate) status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Closing {
    Unspecified = 0,
    Closed = 1,
}

/// What cannot be set of what is asked for.
pub(crate) fn set(request: SetRequest) -> SetResult {
    let errors = request.options.into_iter().filter_map(|(name, value)| {
        let known = OPTIONS.iter().find(|(known, _)| *known == name);
        let reason = match known {
            None => Reason::InvalidName,
            Some((_, only)) if value.text.as_deref() == Some(only) => return None,
            Some(_) => Reason::InvalidValue,
        };
        let reason = reason.into();
        Some((name, SetError { reason }))
    });
    SetResult {
        errors: errors.collect(),
    }
}

/// What is in force.
pub(crate) fn get() -> GetResult {
    let options = OPTIONS.map(|(name, value)| {
        let text = Some(value.to_owned());
        (name.to_owned(), OptionValue { text })
    });
    GetResult {
        options: options.into(),
    }
}

/// There is no session, so it is closed.
pub(crate) fn close() -> CloseResult {
    CloseResult {
        status: Closing::Closed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_force_can_be_set() {
        let value = |text: &str| OptionValue {
            text: Some(text.to_owned()),
        };
        let options = [
            ("catalog", CATALOG),
            ("schema", "public"),
            ("timezone", "UTC"),
        ];
        let options = options.map(|(name, text)| (name.to_owned(), value(text)));
        let errors = set(SetRequest {
            options: options.into(),
        })
        .errors;
        assert_eq!(errors.len(), 2);
        assert_eq!(errors["schema"].reason(), Reason::InvalidValue);
        assert_eq!(errors["timezone"].reason(), Reason::InvalidName);
        assert_eq!(get().options["catalog"], value(CATALOG));
    }
}
