//! Reads a text by the fields of a PostgreSQL pattern.

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};

use super::print::{JULIAN_EPOCH, MONTHS};
use super::template::{Field, Item};

/// Most digits that are read of a number.
const DIGITS_MAX: usize = 9;

/// What the fields of a pattern have found in a text.
#[derive(Default)]
struct ParsedFields {
    year: Option<i32>,
    iso_year: Option<i32>,
    before_christ: bool,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    iso_week: Option<u32>,
    iso_day: Option<u32>,
    julian_day: Option<i32>,
    hour: Option<u32>,
    hour_12: Option<u32>,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    second_of_day: Option<u32>,
    micros: u32,
    offset_hours: Option<i32>,
    offset_minutes: i32,
}

/// The time in UTC that `text` stands for. As in PostgreSQL, what follows the last field is left
/// alone, and a text may end before the pattern does.
pub(super) fn parse(items: &[Item], text: &str) -> Result<NaiveDateTime> {
    let mut found = ParsedFields::default();
    let mut rest = text;
    for (at, item) in items.iter().enumerate() {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let next = items[at + 1..].first();
        match item {
            Item::Text { text, quoted: true } => {
                let skipped = text.chars().count();
                let end = rest.char_indices().nth(skipped);
                rest = end.map_or("", |(end, _)| &rest[end..]);
            }
            Item::Text {
                text,
                quoted: false,
            } => rest = skip_separators(text, rest, next),
            Item::Field { field, .. } => rest = found.read(*field, next, rest, text)?,
        }
    }
    found.time(text)
}

/// A separator stands for any separators; the sign of an offset is none.
fn skip_separators<'a>(text: &str, rest: &'a str, next: Option<&Item>) -> &'a str {
    let is_signed = matches!(
        next,
        Some(Item::Field {
            field: Field::ZoneHours,
            ..
        })
    );
    let is_sign = |c: char| is_signed && matches!(c, '+' | '-');
    let is_separator = |c: char| !c.is_alphanumeric() && !is_sign(c);
    let after = rest.trim_start_matches(is_separator);
    // Text that is no separator stands for itself.
    match text.trim().chars().next() {
        Some(first) if first.is_alphanumeric() => rest.strip_prefix(text.trim()).unwrap_or(rest),
        _ => after,
    }
}

impl ParsedFields {
    /// Reads one field off the beginning of `rest`, and returns what follows.
    fn read<'a>(
        &mut self,
        field: Field,
        next: Option<&Item>,
        rest: &'a str,
        whole: &str,
    ) -> Result<&'a str> {
        let is_before_number = matches!(next, Some(Item::Field { field, .. }) if is_number(*field));
        let mut after = rest;
        // A number ends where its digits do, unless another one follows at once.
        let mut take = |width| {
            let width = if is_before_number { width } else { DIGITS_MAX };
            let (value, left) = digits(rest, width).ok_or_else(|| refused(whole, field))?;
            after = left;
            Ok::<u32, DataFusionError>(value)
        };
        match field {
            Field::Year(digits) => self.year = Some(whole_year(take(digits)?, digits)),
            Field::IsoYear(digits) => self.iso_year = Some(whole_year(take(digits)?, digits)),
            Field::Month => self.month = Some(take(2)?),
            Field::Day => self.day = Some(take(2)?),
            Field::DayOfYear => self.day_of_year = Some(take(3)?),
            Field::IsoWeek => self.iso_week = Some(take(2)?),
            Field::IsoDayOfWeek => self.iso_day = Some(take(1)?),
            Field::JulianDay => self.julian_day = Some(take(8)?.cast_signed()),
            Field::Hour24 => self.hour = Some(take(2)?),
            Field::Hour12 => self.hour_12 = Some(take(2)?),
            Field::Minute => self.minute = take(2)?,
            Field::Second => self.second = take(2)?,
            Field::SecondOfDay => self.second_of_day = Some(take(5)?),
            // PostgreSQL reads and forgets them.
            Field::Quarter | Field::DayOfWeek => drop(take(1)?),
            Field::Millisecond => {
                (self.micros, after) = fraction(rest, 3).ok_or_else(|| refused(whole, field))?;
            }
            Field::Microsecond => {
                (self.micros, after) = fraction(rest, 6).ok_or_else(|| refused(whole, field))?;
            }
            Field::Fraction(digits) => {
                (self.micros, after) =
                    fraction(rest, digits).ok_or_else(|| refused(whole, field))?;
            }
            Field::ZoneMinutes => self.offset_minutes = take(2)?.cast_signed(),
            Field::ZoneHours => {
                let sign = if rest.starts_with('-') { -1 } else { 1 };
                let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
                let (hours, left) = digits(unsigned, 2).ok_or_else(|| refused(whole, field))?;
                self.offset_hours = Some(sign * hours.cast_signed());
                after = left;
            }
            other => return self.read_word(other, rest, whole),
        }
        Ok(after)
    }

    fn read_word<'a>(&mut self, field: Field, rest: &'a str, whole: &str) -> Result<&'a str> {
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic() && c != '.');
        let (word, _) = rest.split_at(letters.unwrap_or(rest.len()));
        let plain = word.replace('.', "").to_ascii_lowercase();
        let taken = match field {
            Field::MonthName(_) | Field::MonthShort(_) => {
                let whole_name = matches!(field, Field::MonthName(_));
                let is_it = |name: &str| {
                    let wanted = if whole_name { name } else { &name[..3] };
                    plain.starts_with(&wanted.to_ascii_lowercase())
                };
                let month = MONTHS.iter().position(|name| is_it(name));
                let month = month.ok_or_else(|| refused(whole, field))?;
                self.month = u32::try_from(month + 1).ok();
                if whole_name { MONTHS[month].len() } else { 3 }
            }
            Field::DayName(_) => plain.len(),
            Field::DayShort(_) => plain.len().min(3),
            Field::HalfDay { .. } => {
                self.afternoon = Some(match plain.get(..2) {
                    Some("am") => false,
                    Some("pm") => true,
                    _ => return Err(refused(whole, field)),
                });
                if word.contains('.') {
                    4.min(word.len())
                } else {
                    2
                }
            }
            Field::Era { .. } => {
                self.before_christ = match plain.get(..2) {
                    Some("ad") => false,
                    Some("bc") => true,
                    _ => return Err(refused(whole, field)),
                };
                if word.contains('.') {
                    4.min(word.len())
                } else {
                    2
                }
            }
            other => {
                return exec_err!(
                    "the pattern {other:?} only prints; \"{whole}\" cannot be read by it"
                );
            }
        };
        Ok(&rest[taken..])
    }

    fn time(&self, text: &str) -> Result<NaiveDateTime> {
        let out_of_range =
            || exec_datafusion_err!("\"{text}\" has a day or a time that does not exist");
        let date = self.date().ok_or_else(out_of_range)?;
        let hour = match (self.hour, self.hour_12, self.afternoon) {
            (Some(hour), _, Some(true)) if hour < 12 => hour + 12,
            (Some(hour), ..) => hour,
            (None, Some(hour), _) if !(1..=12).contains(&hour) => {
                return exec_err!(
                    "hour {hour} of \"{text}\" is not on the 12-hour clock of HH; write HH24 for the other one"
                );
            }
            (None, Some(hour), afternoon) => {
                hour % 12 + if afternoon == Some(true) { 12 } else { 0 }
            }
            (None, None, _) => 0,
        };
        let time = match self.second_of_day {
            Some(second) => {
                NaiveTime::from_num_seconds_from_midnight_opt(second, self.micros * 1_000)
            }
            None => NaiveTime::from_hms_micro_opt(hour, self.minute, self.second, self.micros),
        };
        let local = date.and_time(time.ok_or_else(out_of_range)?);
        let hours = self.offset_hours.unwrap_or(0);
        let minutes = hours * 60
            + if hours < 0 {
                -self.offset_minutes
            } else {
                self.offset_minutes
            };
        let utc = local.checked_sub_signed(TimeDelta::minutes(i64::from(minutes)));
        utc.ok_or_else(out_of_range)
    }

    fn date(&self) -> Option<NaiveDate> {
        if let Some(julian) = self.julian_day {
            return NaiveDate::from_epoch_days(julian - JULIAN_EPOCH);
        }
        if let Some(year) = self.iso_year {
            let day = self.iso_day.unwrap_or(1);
            let weekday = Weekday::try_from(u8::try_from(day.checked_sub(1)?).ok()?).ok()?;
            return NaiveDate::from_isoywd_opt(year, self.iso_week.unwrap_or(1), weekday);
        }
        // Without a year it is the one before the first, as in PostgreSQL.
        let year = self.year.unwrap_or(0);
        let year = if self.before_christ { 1 - year } else { year };
        match self.day_of_year {
            Some(day) => NaiveDate::from_yo_opt(year, day),
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1)),
        }
        .filter(|date| date.year() == year)
    }
}

/// A number of up to `width` digits, and what follows it.
fn digits(text: &str, width: usize) -> Option<(u32, &str)> {
    let end = text
        .bytes()
        .take(width)
        .take_while(u8::is_ascii_digit)
        .count();
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Microseconds by up to `width` digits behind the point of a second.
fn fraction(text: &str, width: usize) -> Option<(u32, &str)> {
    let (value, rest) = digits(text, width)?;
    let read = u32::try_from(text.len() - rest.len()).ok()?;
    Some((value * 10_u32.pow(6 - read), rest))
}

/// The year that fewer than four digits stand for: the one nearest to 2020, as in PostgreSQL.
fn whole_year(year: u32, digits: usize) -> i32 {
    let year = year.cast_signed();
    match year {
        _ if digits == 4 => year,
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

fn is_number(field: Field) -> bool {
    !matches!(
        field,
        Field::MonthName(_)
            | Field::MonthShort(_)
            | Field::MonthRoman(_)
            | Field::DayName(_)
            | Field::DayShort(_)
            | Field::HalfDay { .. }
            | Field::Era { .. }
            | Field::ZoneName(_)
            | Field::ZoneHours
            | Field::Offset
    )
}

fn refused(text: &str, field: Field) -> DataFusionError {
    exec_datafusion_err!("\"{text}\" has no {field:?} where the pattern has it")
}
