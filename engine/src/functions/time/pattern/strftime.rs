//! Patterns with `%`, as chrono prints and reads them.

use std::fmt::Write as _;

use chrono::format::{Parsed, StrftimeItems, parse as parse_items};
use chrono::{FixedOffset, NaiveDateTime, TimeZone as _};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::ClockTime;
use crate::functions::time::zone::Zone;

/// The runs of letters of `pattern` that no `%` begins.
pub(super) fn words(pattern: &str) -> impl Iterator<Item = &str> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '%' || c.is_ascii_alphabetic())?;
            rest = &rest[start..];
            if let Some(after) = rest.strip_prefix('%') {
                // Signs and digits may stand before the letter: %-d, %:z, %.3f.
                let end = after.find(|c: char| !"-_0123456789.:#".contains(c));
                let end = end.map_or(after.len(), |end| {
                    end + after[end..].chars().next().map_or(0, char::len_utf8)
                });
                rest = &after[end..];
                continue;
            }
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            return Some(word);
        }
    })
}

pub(super) fn print(pattern: &str, clock: ClockTime, out: &mut String) -> Result<()> {
    let items = StrftimeItems::new(pattern);
    let written = match (clock.zone, FixedOffset::east_opt(clock.offset_s)) {
        (Some(Zone::Named(zone)), Some(offset)) => {
            let utc = clock.local - chrono::TimeDelta::seconds(i64::from(offset.local_minus_utc()));
            write!(
                out,
                "{}",
                zone.from_utc_datetime(&utc).format_with_items(items)
            )
        }
        (Some(Zone::Fixed(_)), Some(offset)) => {
            let utc = clock.local - chrono::TimeDelta::seconds(i64::from(offset.local_minus_utc()));
            write!(
                out,
                "{}",
                offset.from_utc_datetime(&utc).format_with_items(items)
            )
        }
        _ => write!(out, "{}", clock.local.format_with_items(items)),
    };
    written.map_err(|_| {
        exec_datafusion_err!(
            "to_char: the pattern \"{pattern}\" asks for what a time without a zone does not have, such as %z"
        )
    })
}

pub(super) fn parse(pattern: &str, text: &str) -> Result<NaiveDateTime> {
    let refused = |why: &dyn std::fmt::Display| {
        exec_datafusion_err!("\"{text}\" cannot be read by the pattern \"{pattern}\": {why}")
    };
    // chrono reads no names of zones; the usual place for one is the end.
    let (text, items, zone) = match (
        pattern.trim_end().strip_suffix(" %Z"),
        text.trim_end().rsplit_once(' '),
    ) {
        (Some(pattern), Some((before, name))) => (before, pattern, Some(Zone::read(name)?)),
        _ => (text, pattern, None),
    };
    let mut parsed = Parsed::new();
    parse_items(&mut parsed, text, StrftimeItems::new(items)).map_err(|error| refused(&error))?;
    let local = parsed
        .to_naive_datetime_with_offset(0)
        .or_else(|_| parsed.to_naive_date().map(NaiveDateTime::from));
    match (zone, parsed.to_datetime()) {
        (Some(zone), _) => {
            let local = local.map_err(|error| refused(&error))?;
            let offset = zone.offset_of_local(local);
            match local.checked_sub_signed(chrono::TimeDelta::seconds(i64::from(offset))) {
                Some(utc) => Ok(utc),
                None => exec_err!("\"{text}\" is out of range"),
            }
        }
        (None, Ok(instant)) => Ok(instant.naive_utc()),
        (None, Err(_)) => local.map_err(|error| refused(&error)),
    }
}
