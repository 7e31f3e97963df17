//! Query files: SQL files with a header that names their parameters and outputs.

mod file;
mod library;
mod owners;
mod parameters;
mod schedule;

pub use file::{Checks, Header, ParameterType, QueryFile, QueryName};
pub use library::{CheckedQuery, Library};
pub use parameters::parse_date;
pub(crate) use parameters::{bind, data_type, parameters};
pub use schedule::Schedule;
