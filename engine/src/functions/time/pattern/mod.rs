//! Patterns of times: which language one is written in, and the two ways to use it.
//!
//! A pattern with `%` is one of strftime, any other is one of PostgreSQL. What is neither is
//! refused by name, for a pattern that is printed as it stands looks like an answer.

mod parse;
mod print;
mod strftime;
mod template;

use chrono::{NaiveDateTime, format::StrftimeItems};
use datafusion::common::{Result, exec_err};

use super::zone::Zone;
use template::Item;

/// A pattern that has been understood.
#[derive(Debug)]
pub(super) struct Pattern(Language);

#[derive(Debug)]
enum Language {
    Strftime(String),
    PostgreSql(Vec<Item>),
}

/// A clock to be printed, with the zone it stands for when it is that of an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockTime {
    pub(super) local: NaiveDateTime,
    pub(super) zone: Option<Zone>,
    /// Of the clock against UTC.
    pub(super) offset_s: i32,
}

impl Pattern {
    /// Reads `text`, the argument of `function`.
    ///
    /// # Errors
    /// When it is a pattern of neither language, or mixes the two.
    pub(super) fn read(function: &str, text: &str) -> Result<Self> {
        if !text.contains('%') {
            let items = template::read(function, text)?;
            return Ok(Self(Language::PostgreSql(items)));
        }
        if let Some(mixed) = strftime::words(text).find(|word| template::is_template(word)) {
            return exec_err!(
                "{function}: the pattern \"{text}\" mixes % with \"{mixed}\" of PostgreSQL's patterns; write all of it \
                 in one of the two"
            );
        }
        if StrftimeItems::new(text).parse().is_err() {
            return exec_err!(
                "{function}: the pattern \"{text}\" has a % that begins no pattern of strftime; %% stands for a percent sign"
            );
        }
        Ok(Self(Language::Strftime(text.to_owned())))
    }

    /// Appends `clock` to `out`.
    pub(super) fn print(&self, clock: ClockTime, out: &mut String) -> Result<()> {
        match &self.0 {
            Language::Strftime(pattern) => strftime::print(pattern, clock, out),
            Language::PostgreSql(items) => print::print(items, clock, out),
        }
    }

    /// The time in UTC that `text` stands for; without an offset in it, it is one of UTC.
    pub(super) fn parse(&self, text: &str) -> Result<NaiveDateTime> {
        match &self.0 {
            Language::Strftime(pattern) => strftime::parse(pattern, text),
            Language::PostgreSql(items) => parse::parse(items, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::{ClockTime, Pattern};

    fn clock() -> ClockTime {
        let day = NaiveDate::from_ymd_opt(2026, 1, 5).expect("a day");
        ClockTime {
            local: day.and_hms_micro_opt(9, 7, 3, 4_005).expect("a time"),
            zone: None,
            offset_s: 0,
        }
    }

    fn printed(pattern: &str) -> String {
        let mut out = String::new();
        let pattern = Pattern::read("to_char", pattern).expect(pattern);
        pattern.print(clock(), &mut out).expect("printed");
        out
    }

    /// Results of PostgreSQL 15.18 for 2026-01-05 09:07:03.004005.
    #[test]
    fn a_pattern_without_percent_prints_what_postgresql_prints() {
        for (pattern, expected) in [
            ("YYYY-MM-DD\"T\"HH24:MI:SS.US", "2026-01-05T09:07:03.004005"),
            ("yyyy-mm-dd hh24:mi:ss", "2026-01-05 09:07:03"),
            ("Y,YYY|YYY|YYY|YY|Y", "2,026|026|026|26|6"),
            ("IYYY IYY IY I", "2026 026 26 6"),
            (
                "MONTH|Month|month|FMMonth",
                "JANUARY  |January  |january  |January",
            ),
            ("MON|Mon|mon", "JAN|Jan|jan"),
            ("DAY|Day|FMDay|DY|Dy", "MONDAY   |Monday   |Monday|MON|Mon"),
            ("DDD|IDDD|D|ID|W|WW|IW|CC", "005|008|2|1|1|01|02|21"),
            ("J|Q|RM|rm|SSSS", "2461046|1|I   |i   |32823"),
            (
                "MS|FF3|FF2|HH|HH12|AM|am|A.M.",
                "004|004|00|09|09|AM|am|A.M.",
            ),
            ("BC|b.c.|TZ|TZH:TZM|OF", "AD|a.d.||+00:00|+00"),
            ("DDth|FMDDTH|MMth, DTH", "05th|5TH|01st, 2ND"),
            ("FMMM|FMHH24|FMMI|FMSS|FMDDD", "1|9|7|3|5"),
            ("FMY,YYY|FMMS|FMUS|FMTZH|FMRM", "2,026|004|004005|+00|I"),
            ("TMMonth TMDay|", "January Monday|"),
            ("YYYY年", "2026年"),
            ("%Y-%m-%dT%H:%M:%S%.3f", "2026-01-05T09:07:03.004"),
            ("%Y week %V", "2026 week 02"),
            ("100%%", "100%"),
        ] {
            assert_eq!(printed(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_of_neither_language_is_refused_by_name() {
        for (pattern, named) in [
            ("YYYY-MM-DD BOB", "\"BOB\""),
            ("YYYY-MM-DDTHH24", "\"H\""),
            ("epoch", "\"epoch\""),
            ("%Y-MM-DD", "\"MM\""),
            ("YYYY-%m", "\"YYYY\""),
            ("%Y-%", "strftime"),
            ("%Y-%m-%Q", "strftime"),
            ("YYYY \"open", "quote"),
        ] {
            let refused = Pattern::read("to_char", pattern).expect_err(pattern);
            let refused = refused.to_string();
            assert!(
                refused.contains(named) && refused.contains("to_char"),
                "{refused}"
            );
        }
    }

    /// Results of PostgreSQL 15.18; the last ones of Python's `strptime`.
    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        for (text, pattern, expected) in [
            (
                "2026-01-15 10:00:00.5",
                "YYYY-MM-DD HH24:MI:SS.US",
                "2026-01-15 10:00:00.500",
            ),
            ("20260115", "YYYYMMDD", "2026-01-15 00:00:00"),
            ("15 Jan 26", "DD Mon YY", "2026-01-15 00:00:00"),
            ("2026-015", "YYYY-DDD", "2026-01-15 00:00:00"),
            (
                "2026-01-15 01:30 PM",
                "YYYY-MM-DD HH12:MI AM",
                "2026-01-15 13:30:00",
            ),
            (
                "2026-01-15 12:30 am",
                "YYYY-MM-DD HH12:MI AM",
                "2026-01-15 00:30:00",
            ),
            (
                "2026-01-15T10:00",
                "YYYY-MM-DD\"T\"HH24:MI",
                "2026-01-15 10:00:00",
            ),
            (
                "2026-01-15 10:00 +05",
                "YYYY-MM-DD HH24:MI TZH",
                "2026-01-15 05:00:00",
            ),
            (
                "2026-01-15 10:00-05:30",
                "YYYY-MM-DD HH24:MITZH:TZM",
                "2026-01-15 15:30:00",
            ),
            ("2026-03-04", "IYYY-IW-ID", "2026-01-15 00:00:00"),
            ("2026W03", "IYYY\"W\"IW", "2026-01-12 00:00:00"),
            ("  2026  01/15", "YYYY-MM-DD", "2026-01-15 00:00:00"),
            ("2026-01", "YYYY-MM-DD", "2026-01-01 00:00:00"),
            ("12.3", "SS.MS", "0000-01-01 00:00:12.300"),
            ("2026-1-5 7:8", "YYYY-MM-DD HH24:MI", "2026-01-05 07:08:00"),
            ("15.01.2026", "DD.MM.YYYY", "2026-01-15 00:00:00"),
            ("January 5, 2026", "Month DD, YYYY", "2026-01-05 00:00:00"),
            ("0001-01-01", "YYYY-MM-DD", "0001-01-01 00:00:00"),
            ("9999-12-31", "YYYY-MM-DD", "9999-12-31 00:00:00"),
            ("2461056", "J", "2026-01-15 00:00:00"),
            ("2026-01-15 garbage", "YYYY-MM-DD", "2026-01-15 00:00:00"),
            ("Thu 15 01 2026", "Dy DD MM YYYY", "2026-01-15 00:00:00"),
            (
                "15/01/2026 10:30 +0200",
                "%d/%m/%Y %H:%M %z",
                "2026-01-15 08:30:00",
            ),
            ("2026-01-15 10:30", "%Y-%m-%d %H:%M", "2026-01-15 10:30:00"),
            (
                "2026-01-15 10:30 Europe/Paris",
                "%Y-%m-%d %H:%M %Z",
                "2026-01-15 09:30:00",
            ),
            ("9999-12-31", "%Y-%m-%d", "9999-12-31 00:00:00"),
        ] {
            let pattern = Pattern::read("to_timestamp", pattern).expect(pattern);
            let found = pattern.parse(text).expect(text);
            assert_eq!(found.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn texts_that_a_pattern_does_not_read_are_refused() {
        for (text, pattern) in [
            ("2026-02-30", "YYYY-MM-DD"),
            ("abc", "YYYY"),
            ("2026-01-15 13:00", "YYYY-MM-DD HH:MI"),
            ("2026-01-15 24:30", "YYYY-MM-DD HH24:MI"),
            ("2026-13-01", "YYYY-MM-DD"),
            ("2026-Foo-01", "YYYY-Mon-DD"),
            ("2026-01-15", "%d.%m.%Y"),
        ] {
            let read = Pattern::read("to_timestamp", pattern).expect(pattern);
            assert!(read.parse(text).is_err(), "{text} by {pattern}");
        }
    }
}
