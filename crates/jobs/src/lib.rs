//! Jobs: query files, SQL files that describe themselves, and their runs.
//!
//! Read it in the order of a run: `query` reads and checks the files, `outputs` has what they
//! declare of their outputs, `run` computes the stale partitions of one and publishes them.

mod error;
mod outputs;
mod query;
mod run;

pub use error::Error;
pub use outputs::{HbaseOutput, HbaseTarget, JsonlOutput, Output, Outputs, TableOutput};
pub use query::{
    CheckedQuery, Checks, Header, Library, ParameterType, QueryFile, QueryName, Schedule,
    parse_date,
};
pub use run::{PartitionRun, PartitionSelection, Published, Report, Runner};
