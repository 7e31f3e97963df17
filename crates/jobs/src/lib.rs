//! Jobs: query files, SQL files that describe themselves, and their runs.
//!
//! Read it in the order of a run: [`query`] reads and checks the files, [`run`] computes the stale
//! partitions of one and publishes them, [`outputs`] writes what is not a table.

mod error;
pub mod outputs;
pub mod query;
pub mod run;

pub use error::Error;
pub use query::{CheckedQuery, Header, Library, Outputs, QueryFile, QueryName, parse_date};
pub use run::{PartitionRun, PartitionSelection, Published, Report, Runner};
