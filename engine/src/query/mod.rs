//! Described SQL files: what they say of themselves, and their runs.

mod conform;
mod days;
mod file;
mod header;
mod library;
mod mirror;
mod owners;
mod parameters;
mod publish;
mod run;
mod schedule;
mod staleness;

pub use self::days::Days;
pub use self::file::{Header, Outputs, QueryFile, QueryName};
pub use self::header::{Described, read as read_described};
pub use self::library::{Judged, Library};
pub use self::owners::DEAD_LETTERS;
pub use self::parameters::parse_date;
pub use self::run::{PartitionRun, Published, Report, Runner};
