//! A `statement` of a client, and its `description`. It is `planned` by the engine's session, which
//! only reads, or found in the `plan_cache`; values are bound to its `parameters`, and its columns
//! get `client_types`. Between requests, `prepared` keeps statements.

pub(crate) mod client_types;
pub(crate) mod description;
pub(crate) mod parameters;
pub(crate) mod plan_cache;
pub(crate) mod planned;
pub(crate) mod prepared;
pub(crate) mod statement;
