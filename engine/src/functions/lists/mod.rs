//! Lists and their elements.

pub(crate) mod any_equal;
pub(crate) mod element;
pub(crate) mod list_field;
pub(crate) mod nameless_field;
