//! Execution of statements: `admission` bounds how many run, `budget` their time. `executable`
//! makes a plan ready to run, and `result_stream` runs it and streams its rows.

pub(crate) mod admission;
pub(crate) mod budget;
pub(crate) mod executable;
pub(crate) mod result_stream;
