//! A stand-in for the OpenWeather API: same endpoints, bodies and errors, but a pure function of
//! seed, place and instant, so that a demo needs neither key nor network and a test can foretell
//! what it reads.
//!
//! `places` are where, `model` is the weather there, `bodies` is how the API writes it, and
//! `server` is HTTP. It simulates no failures; tests that need them stand something in between.

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
