//! Prints a clock by the fields of a PostgreSQL pattern.

use std::fmt::Write as _;

use chrono::{Datelike as _, Timelike as _};
use datafusion::common::{Result, exec_datafusion_err};

use super::ClockTime;
use super::template::{Case, Field, Item};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const ROMAN: [&str; 12] = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII",
];
/// Days from the beginning of the Julian calendar to 1970-01-01.
pub(super) const JULIAN_EPOCH: i32 = 2_440_588;

pub(super) fn print(items: &[Item], clock: ClockTime, out: &mut String) -> Result<()> {
    for item in items {
        match item {
            Item::Text { text, .. } => out.push_str(text),
            Item::Field {
                field,
                plain,
                ordinal,
            } => {
                let from = out.len();
                let written = match number(*field, clock) {
                    Some((value, width)) => write!(
                        out,
                        "{value:0width$}",
                        width = if *plain { 0 } else { width }
                    ),
                    None => word(*field, *plain, clock, out),
                };
                written
                    .map_err(|error| exec_datafusion_err!("a time cannot be printed: {error}"))?;
                if let Some(case) = ordinal {
                    let ending = ordinal_ending(&out[from..]);
                    out.push_str(&cased(ending, *case));
                }
            }
        }
    }
    Ok(())
}

/// The value of a field that is a number, and how many digits it is filled up to.
fn number(field: Field, clock: ClockTime) -> Option<(i64, usize)> {
    let local = clock.local;
    let (year, iso) = (era_year(local.year()), local.iso_week());
    let last_digits = |year: i32, digits: usize| {
        let modulus = [10, 100, 1000].get(digits - 1);
        modulus.map_or(year, |modulus| year % modulus)
    };
    let (value, width) = match field {
        Field::Year(digits) => (last_digits(year, digits), digits),
        Field::IsoYear(digits) => (last_digits(era_year(iso.year()), digits), digits),
        Field::Century => century(local.year()),
        Field::Month => (local.month().cast_signed(), 2),
        Field::Quarter => (local.month0().cast_signed() / 3 + 1, 1),
        Field::WeekOfMonth => (local.day0().cast_signed() / 7 + 1, 1),
        Field::WeekOfYear => (local.ordinal0().cast_signed() / 7 + 1, 2),
        Field::IsoWeek => (iso.week().cast_signed(), 2),
        Field::DayOfYear => (local.ordinal().cast_signed(), 3),
        Field::IsoDayOfYear => {
            let weekday = local.weekday().number_from_monday();
            ((iso.week0() * 7 + weekday).cast_signed(), 3)
        }
        Field::Day => (local.day().cast_signed(), 2),
        Field::DayOfWeek => (local.weekday().number_from_sunday().cast_signed(), 1),
        Field::IsoDayOfWeek => (local.weekday().number_from_monday().cast_signed(), 1),
        Field::JulianDay => (local.date().to_epoch_days() + JULIAN_EPOCH, 1),
        Field::Hour12 => (local.hour12().1.cast_signed(), 2),
        Field::Hour24 => (local.hour().cast_signed(), 2),
        Field::Minute => (local.minute().cast_signed(), 2),
        Field::Second => (local.second().cast_signed(), 2),
        Field::SecondOfDay => (local.num_seconds_from_midnight().cast_signed(), 1),
        Field::Millisecond
        | Field::Microsecond
        | Field::Fraction(_)
        | Field::YearWithComma
        | Field::Era { .. }
        | Field::MonthName(_)
        | Field::MonthShort(_)
        | Field::MonthRoman(_)
        | Field::DayName(_)
        | Field::DayShort(_)
        | Field::HalfDay { .. }
        | Field::ZoneName(_)
        | Field::ZoneHours
        | Field::ZoneMinutes
        | Field::Offset => return None,
    };
    Some((i64::from(value), width))
}

/// Writes a field that is no plain number.
fn word(field: Field, plain: bool, clock: ClockTime, out: &mut String) -> std::fmt::Result {
    let local = clock.local;
    let micros = local.nanosecond() / 1_000;
    let month = local.month0() as usize;
    let weekday = local.weekday().num_days_from_sunday() as usize;
    let offset = clock.offset_s.abs();
    let sign = if clock.offset_s < 0 { '-' } else { '+' };
    match field {
        Field::Millisecond => write!(out, "{:03}", micros / 1_000),
        Field::Microsecond => write!(out, "{micros:06}"),
        Field::Fraction(digits) => out.write_str(&format!("{micros:06}")[..digits]),
        Field::YearWithComma => {
            let year = era_year(local.year());
            write!(out, "{},{:03}", year / 1_000, year % 1_000)
        }
        Field::Era { case, dots } => {
            let era = if local.year() > 0 { "AD" } else { "BC" };
            out.write_str(&dotted(era, case, dots))
        }
        Field::MonthName(case) => filled(MONTHS[month], case, 9, plain, out),
        Field::MonthShort(case) => out.write_str(&cased(&MONTHS[month][..3], case)),
        Field::MonthRoman(case) => filled(ROMAN[month], case, 4, plain, out),
        Field::DayName(case) => filled(DAYS[weekday], case, 9, plain, out),
        Field::DayShort(case) => out.write_str(&cased(&DAYS[weekday][..3], case)),
        Field::HalfDay { case, dots } => {
            let half = if local.hour12().0 { "PM" } else { "AM" };
            out.write_str(&dotted(half, case, dots))
        }
        Field::ZoneName(case) => {
            let name = clock
                .zone
                .map(|zone| zone.abbreviation(local, clock.offset_s));
            name.map_or(Ok(()), |name| out.write_str(&cased(&name, case)))
        }
        Field::ZoneHours => write!(out, "{sign}{:02}", offset / 3_600),
        Field::ZoneMinutes => write!(out, "{:02}", offset / 60 % 60),
        Field::Offset => {
            let width = if plain { 1 } else { 2 };
            write!(out, "{sign}{:0width$}", offset / 3_600)?;
            match offset / 60 % 60 {
                0 => Ok(()),
                minutes => write!(out, ":{minutes:02}"),
            }
        }
        // `number` has written these.
        Field::Year(_)
        | Field::IsoYear(_)
        | Field::Century
        | Field::Month
        | Field::Quarter
        | Field::WeekOfMonth
        | Field::WeekOfYear
        | Field::IsoWeek
        | Field::DayOfYear
        | Field::IsoDayOfYear
        | Field::Day
        | Field::DayOfWeek
        | Field::IsoDayOfWeek
        | Field::JulianDay
        | Field::Hour12
        | Field::Hour24
        | Field::Minute
        | Field::Second
        | Field::SecondOfDay => Ok(()),
    }
}

/// There is no year 0: it is 1 before Christ.
fn era_year(year: i32) -> i32 {
    if year > 0 { year } else { 1 - year }
}

fn century(year: i32) -> (i32, usize) {
    if year > 0 {
        ((year - 1) / 100 + 1, 2)
    } else {
        // The sign takes a place of its own.
        (-((-year) / 100 + 1), 3)
    }
}

fn cased(text: &str, case: Case) -> String {
    match case {
        Case::Upper => text.to_uppercase(),
        Case::Capital => text.to_owned(),
        Case::Lower => text.to_lowercase(),
    }
}

fn dotted(two: &str, case: Case, dots: bool) -> String {
    let text = if dots {
        two.chars().flat_map(|letter| [letter, '.']).collect()
    } else {
        two.to_owned()
    };
    cased(&text, case)
}

fn filled(name: &str, case: Case, width: usize, plain: bool, out: &mut String) -> std::fmt::Result {
    let width = if plain { 0 } else { width };
    write!(out, "{:<width$}", cased(name, case))
}

/// `st`, `nd`, `rd` or `th`, by the last digits of `number`.
fn ordinal_ending(number: &str) -> &'static str {
    let bytes = number.as_bytes();
    let teen = bytes.len() > 1 && bytes[bytes.len() - 2] == b'1';
    match bytes.last() {
        Some(b'1') if !teen => "st",
        Some(b'2') if !teen => "nd",
        Some(b'3') if !teen => "rd",
        _ => "th",
    }
}
