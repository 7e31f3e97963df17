//! Execution of statements: `admission` bounds how many run, `budget` their time, and `stream`
//! sends their rows.

pub(crate) mod admission;
pub(crate) mod budget;
pub(crate) mod stream;
