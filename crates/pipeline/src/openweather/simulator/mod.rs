//! A simulator of the OpenWeather API, with the same endpoints, bodies and errors. A response is a
//! pure function of seed, place and instant, so that a demo needs neither key nor network, and a
//! test can predict the values.
//!
//! `places` has the places, `model` computes their weather, `bodies` writes it as the API does, and
//! `server` serves it over HTTP. The simulator has no failures; tests add them by a gateway in
//! front.

mod bodies;
mod clock;
mod conditions;
mod model;
mod noise;
mod places;
mod pollution;
mod server;
mod sun;
mod world;

pub use clock::SimulatedClock;
pub use places::CITIES;
pub use server::Simulator;
#[cfg(test)]
pub(super) use world::World;
