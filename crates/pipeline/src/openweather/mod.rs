//! OpenWeather: makes one message from the name of a city.
//!
//! [`Client`] requests the three bodies of a city, and [`assemble()`] makes the message of them.
//! [`simulator`] is a deterministic replacement of the API, which needs neither key nor network.
//! This module does not depend on Kafka: the caller decides where a message goes.

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
pub use transport::CallCounters;
