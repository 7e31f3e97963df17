//! Texts, and bounds on what functions make.

pub(crate) mod bounded;
pub(crate) mod output_size;
pub(crate) mod strpos;
pub(crate) mod text_concat;
