//! Query files: SQL files with a header, and their runs.

mod cast_to_schema;
mod file;
mod header;
mod library;
mod owners;
mod parameters;
mod partition_selection;
mod publish;
mod run;
mod runner;
mod schedule;
mod staleness;
mod sync_hbase;

pub use self::file::{Header, Outputs, QueryFile, QueryName};
pub use self::header::{Described, read as read_described};
pub use self::library::{CheckedQuery, Library};
pub use self::owners::DEAD_LETTERS;
pub use self::parameters::parse_date;
pub use self::partition_selection::PartitionSelection;
pub use self::runner::{PartitionRun, Published, Report, Runner};
