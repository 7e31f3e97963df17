//! The messages of session options, which arrow-flight lacks. The catalog and the schema are fixed:
//! a client may set them to the values that they have, and can set nothing else.

use std::collections::HashMap;

use engine::session::{CATALOG, SCHEMA};

/// The options with their fixed values.
const OPTIONS: [(&str, &str); 2] = [("catalog", CATALOG), ("schema", SCHEMA)];

/// The value of an option. Of the types in the protocol, these options have only text.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SessionOptionValue {
    #[prost(string, optional, tag = "1")]
    pub(crate) text: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) errors: HashMap<String, SetOptionError>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SetOptionError {
    #[prost(enumeration = "SetOptionReason", tag = "1")]
    pub(crate) reason: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum SetOptionReason {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct CloseSessionResult {
    #[prost(enumeration = "CloseSessionStatus", tag = "1")]
    pub(crate) status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum CloseSessionStatus {
    Unspecified = 0,
    Closed = 1,
}

/// The options of `request` that cannot be set.
pub(crate) fn set(request: SetSessionOptionsRequest) -> SetSessionOptionsResult {
    let errors = request.options.into_iter().filter_map(|(name, value)| {
        let known = OPTIONS.iter().find(|(known, _)| *known == name);
        let reason = match known {
            None => SetOptionReason::InvalidName,
            Some((_, fixed)) if value.text.as_deref() == Some(fixed) => return None,
            Some(_) => SetOptionReason::InvalidValue,
        };
        let reason = reason.into();
        Some((name, SetOptionError { reason }))
    });
    SetSessionOptionsResult {
        errors: errors.collect(),
    }
}

/// The options and their values.
pub(crate) fn get() -> GetSessionOptionsResult {
    let options = OPTIONS.map(|(name, value)| {
        let text = Some(value.to_owned());
        (name.to_owned(), SessionOptionValue { text })
    });
    GetSessionOptionsResult {
        options: options.into(),
    }
}

/// Reports the session as closed: there are none.
pub(crate) fn close() -> CloseSessionResult {
    CloseSessionResult {
        status: CloseSessionStatus::Closed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_can_only_be_set_to_their_fixed_values() {
        let value = |text: &str| SessionOptionValue {
            text: Some(text.to_owned()),
        };
        let options = [
            ("catalog", CATALOG),
            ("schema", "public"),
            ("timezone", "UTC"),
        ];
        let options = options.map(|(name, text)| (name.to_owned(), value(text)));
        let errors = set(SetSessionOptionsRequest {
            options: options.into(),
        })
        .errors;
        assert_eq!(errors.len(), 2);
        assert_eq!(errors["schema"].reason(), SetOptionReason::InvalidValue);
        assert_eq!(errors["timezone"].reason(), SetOptionReason::InvalidName);
        assert_eq!(get().options["catalog"], value(CATALOG));
    }
}
