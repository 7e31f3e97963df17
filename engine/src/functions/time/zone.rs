//! Time zones, and what a local time means where clocks change.

use chrono::{FixedOffset, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::{OffsetName as _, TZ_VARIANTS, Tz};
use datafusion::common::{Result, exec_datafusion_err};

/// A zone of the IANA database, or a fixed offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    Named(Tz),
    /// Seconds that its clocks are ahead of UTC.
    Fixed(i32),
}

impl Zone {
    /// Reads a name such as `Europe/Paris`, in upper or lower case, or an offset such as `+02:00`,
    /// which lies east of UTC.
    ///
    /// # Errors
    /// When there is no such zone.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let named = name.parse().ok().or_else(|| {
            let mut zones = TZ_VARIANTS.iter();
            zones
                .find(|zone| zone.name().eq_ignore_ascii_case(name))
                .copied()
        });
        if let Some(zone) = named {
            return Ok(Self::Named(zone));
        }
        if name.eq_ignore_ascii_case("z") {
            return Ok(Self::Fixed(0));
        }
        fixed_offset(name).map(Self::Fixed).ok_or_else(|| {
            exec_datafusion_err!(
                "there is no time zone \"{name}\"; write one as Europe/Paris or +02:00"
            )
        })
    }

    /// Seconds that its clocks are ahead of UTC at the instant `utc`.
    pub(crate) fn offset_at(self, utc: NaiveDateTime) -> i32 {
        match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
            Self::Fixed(seconds) => seconds,
        }
    }

    /// Seconds that its clocks are ahead of UTC when they show `local`.
    ///
    /// PostgreSQL's rule: a time that clocks show twice is the second of both, and one that they
    /// skip is counted on from before the change, so that it comes out later by what was skipped.
    pub(crate) fn offset_of_local(self, local: NaiveDateTime) -> i32 {
        let zone = match self {
            Self::Named(zone) => zone,
            Self::Fixed(seconds) => return seconds,
        };
        match zone.offset_from_local_datetime(&local) {
            MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(_, offset) => {
                offset.fix().local_minus_utc()
            }
            // No zone is a day ahead of UTC, so that a day earlier lies before the change.
            MappedLocalTime::None => {
                let before = local
                    .checked_sub_signed(TimeDelta::days(1))
                    .unwrap_or(local);
                self.offset_at(before)
            }
        }
    }

    /// What people call the time that its clocks show: `CEST`, `UTC`, or the offset where it has no
    /// other name.
    pub(crate) fn abbreviation(self, local: NaiveDateTime, offset_s: i32) -> String {
        let utc = local.checked_sub_signed(TimeDelta::seconds(i64::from(offset_s)));
        match self {
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&utc.unwrap_or(local));
                let name = offset.abbreviation().map(str::to_owned);
                name.unwrap_or_else(|| offset.fix().to_string())
            }
            Self::Fixed(seconds) => {
                FixedOffset::east_opt(seconds).map_or_else(String::new, |offset| offset.to_string())
            }
        }
    }
}

/// `+02`, `+0200` or `+02:00` in seconds.
fn fixed_offset(name: &str) -> Option<i32> {
    let sign = if name.starts_with('-') { -1 } else { 1 };
    let digits = name.strip_prefix(['+', '-'])?;
    let digits = if digits.len() == 5 {
        digits.replacen(':', "", 1)
    } else {
        digits.to_owned()
    };
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = digits[2..].parse().unwrap_or(0);
    (hours <= 15 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDateTime, TimeDelta};

    use super::Zone;

    /// Results of PostgreSQL 15.18.
    #[test]
    fn a_local_time_that_is_shown_twice_or_never_means_what_it_means_in_postgresql() {
        for (local, zone, expected) in [
            ("2026-01-15 10:00:00", "Europe/Paris", "2026-01-15 09:00:00"),
            ("2026-10-25 02:30:00", "Europe/Paris", "2026-10-25 01:30:00"),
            ("2026-03-29 02:30:00", "Europe/Paris", "2026-03-29 01:30:00"),
            ("2011-12-30 12:00:00", "Pacific/Apia", "2011-12-30 22:00:00"),
            (
                "2018-11-04 00:30:00",
                "America/Sao_Paulo",
                "2018-11-04 03:30:00",
            ),
            ("2026-01-15 10:00:00", "+02:00", "2026-01-15 08:00:00"),
            ("2026-01-15 10:00:00", "-0930", "2026-01-15 19:30:00"),
            ("2026-07-15 10:00:00", "europe/paris", "2026-07-15 08:00:00"),
        ] {
            let parsed: NaiveDateTime = local.replace(' ', "T").parse().expect(local);
            let offset = Zone::read(zone).expect(zone).offset_of_local(parsed);
            let utc = parsed - TimeDelta::seconds(i64::from(offset));
            assert_eq!(utc.to_string(), expected, "{local} {zone}");
        }
    }

    #[test]
    fn what_is_no_zone_is_refused_by_name() {
        for name in [
            "Mars/Phobos",
            "",
            "+25:00",
            "Europe/Paris ",
            "2",
            "+1:00",
            "+12345",
        ] {
            let refused = Zone::read(name).expect_err(name).to_string();
            assert!(refused.contains(&format!("\"{name}\"")), "{refused}");
        }
    }
}
