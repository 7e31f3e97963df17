//! Sources of messages and the pipeline that lands them.

pub mod openweather;
