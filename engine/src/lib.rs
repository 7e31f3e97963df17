//! Isobar's engine: the lake, and SQL over it.
//!
//! Read it along the way of a query: [`config`] says where the lake is, [`lake`] opens its tables,
//! [`runtime`] is what statements share, [`session`] plans and runs SQL over them and over what [`system`] knows of them, by [`functions`] and rules of ours beside
//! those of DataFusion, [`query`] runs the described SQL files, [`output`] publishes their rows. The engine knows no Kafka, no PostgreSQL and no network server.

pub mod allocations;
pub mod config;
pub mod error;
pub mod estimate;
pub mod fail;
pub mod functions;
pub mod lake;
pub mod metrics;
pub mod output;
pub mod query;
mod rules;
pub mod runtime;
pub mod session;
pub mod sql;
pub mod system;
mod wide_constants;

pub use error::Error;
