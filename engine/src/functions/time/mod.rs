//! Functions of instants, days and local times.
//!
//! Instants have microseconds here, as the tables of the lake have. DataFusion's functions of the
//! same names have nanoseconds, which reach from 1677 to 2262 only: with them `9999-12-31`, the
//! usual end of what is still valid, is an error, and `date_bin` makes null of it.

mod at_time_zone;
mod date_bin;
mod date_trunc;
pub(crate) mod day_time;
mod now;
mod pattern;
mod series;
#[cfg(test)]
mod tests;
mod to_char;
mod to_timestamp;
pub(crate) mod zone;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDateTime};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::ScalarUDF;

/// An instant: microseconds in UTC.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// What a clock shows, of no zone.
pub(crate) fn local_time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

pub(super) use self::series::Series;

/// All scalar functions of this module.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut functions = vec![
        at_time_zone::AtTimeZone::new().into(),
        date_bin::DateBin::new().into(),
        date_trunc::DateTrunc::new().into(),
        now::Now::new().into(),
        to_char::ToChar::new().into(),
        to_timestamp::ToDate::new().into(),
    ];
    functions.extend(to_timestamp::all());
    functions
}

/// What `data_type` is when it has microseconds; `None` where it is no time.
fn in_micros(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(_, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::Date32 | DataType::Date64 | DataType::Null => Some(local_time()),
        other if other.is_string() => Some(local_time()),
        _ => None,
    }
}

/// `text` with seconds where it ends after minutes, `2026-01-15 10:00`, which arrow does not read;
/// `None` where it has them.
pub(crate) fn with_seconds(text: &str) -> Option<String> {
    let is_like = |part: &[u8], pattern: &[u8]| {
        let fits = |(byte, like): (&u8, &u8)| {
            if *like == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == like
            }
        };
        part.len() == pattern.len() && part.iter().zip(pattern).all(fits)
    };
    let bytes = text.as_bytes();
    let has_minutes = bytes.len() >= 16
        && is_like(&bytes[..10], b"0000-00-00")
        && matches!(bytes[10], b' ' | b'T' | b't')
        && is_like(&bytes[11..16], b"00:00");
    let ends = matches!(bytes.get(16), None | Some(b'Z' | b'z' | b'+' | b'-' | b' '));
    (has_minutes && ends).then(|| format!("{}:00{}", &text[..16], &text[16..]))
}

/// The clock of UTC at `instant_us` microseconds since 1970.
fn clock_of(instant_us: i64) -> Result<NaiveDateTime> {
    let instant = DateTime::from_timestamp_micros(instant_us);
    instant.map(|instant| instant.naive_utc()).ok_or_else(|| {
        exec_datafusion_err!("the instant of {instant_us} microseconds since 1970 is out of range")
    })
}

/// Texts of a column of any of the types of text.
enum Texts {
    Short(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

impl Texts {
    fn of(array: &ArrayRef) -> Option<Self> {
        let array = Arc::clone(array);
        Some(match array.data_type() {
            DataType::Utf8 => Self::Short(array.as_string::<i32>().clone()),
            DataType::LargeUtf8 => Self::Large(array.as_string::<i64>().clone()),
            DataType::Utf8View => Self::View(array.as_string_view().clone()),
            _ => return None,
        })
    }

    fn get(&self, row: usize) -> Option<&str> {
        use arrow::array::Array as _;
        match self {
            Self::Short(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Large(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::View(texts) => texts.is_valid(row).then(|| texts.value(row)),
        }
    }
}
