//! Isobar's engine: SQL over the lake.
//!
//! Read it along the way of a query: [`sql`] parses a statement; [`session`] plans it over the
//! tables that [`scan`] reads and over what [`system`] knows of them, with our [`functions`], and
//! with rules of ours beside those of DataFusion; [`runtime`] is what statements share while they
//! run, and [`output`] makes texts of their rows. [`described`] reads SQL files with a header.

mod column_cache;
pub mod described;
pub mod error;
pub mod estimate;
pub mod functions;
pub mod metrics;
pub mod output;
mod rules;
pub mod runtime;
pub mod scan;
pub mod session;
mod source_position;
pub mod sql;
pub mod system;
mod wide_constants;

pub use error::Error;
pub use source_position::SourcePosition;
