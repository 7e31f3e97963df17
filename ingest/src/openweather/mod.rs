//! The OpenWeather producer's library part: one city in, one message out.
//!
//! [`Client`] asks the API for the three bodies of a city, [`assemble()`] makes the message of
//! them. [`simulator`] is a deterministic stand-in for the API, so that the product
//! runs without a key and a network. Nothing here knows Kafka: where a message goes is the caller's
//! choice.

mod assemble;
mod body;
mod city;
mod client;
mod error;
mod limiter;
mod options;
pub mod simulator;
#[cfg(test)]
mod tests;
mod transport;

pub use assemble::{Bodies, Message, Observation, PrecipitationsInfo, SunInfo, assemble};
pub use body::{BodyError, Section};
pub use city::{City, Coordinates, ParseCityError};
pub use client::Client;
pub use error::{Call, Endpoint, Error};
pub use options::{ApiKey, Options, Retry, Units, UnknownUnits};
pub use transport::Counters;
