//! Stub.
pub mod message;
