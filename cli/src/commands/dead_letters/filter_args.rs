//! The options that say which letters are meant.

use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use clap::ValueEnum as _;
use ingest::dead_letters::Filter;

use crate::commands::land::Source;
use crate::commands::run;

/// Which letters.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Only letters with this reason; repeatable, then with any of them
    #[arg(long)]
    reason: Vec<String>,
    /// Only letters from this source
    #[arg(long, value_enum)]
    source: Option<Source>,
    /// Only letters received since then: a day, an instant, or as long ago as `90m`, `12h`, `7d`
    #[arg(long, value_name = "WHEN", value_parser = since, conflicts_with = "dt")]
    since: Option<Since>,
    /// Only letters received on this day, in time.zone
    #[arg(long, value_name = "DAY", value_parser = run::day)]
    dt: Option<NaiveDate>,
}

/// A moment, told as a day, as an instant or by how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Day(NaiveDate),
    Instant(DateTime<Utc>),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(day) = run::day(text) {
        return Ok(Since::Day(day));
    }
    if let Ok(instant) = text.parse::<DateTime<Utc>>() {
        return Ok(Since::Instant(instant));
    }
    let ago = humantime::parse_duration(text).map(Since::Ago);
    ago.map_err(|_| {
        "expected a day such as 2026-01-15, an instant such as 2026-01-15T10:00:00Z, or a time such as 12h".to_owned()
    })
}

impl Since {
    fn instant(self, zone: Tz) -> anyhow::Result<DateTime<Utc>> {
        match self {
            Self::Day(day) => begins(day, zone),
            Self::Instant(instant) => Ok(instant),
            Self::Ago(ago) => {
                let then = TimeDelta::from_std(ago).ok();
                let then = then.and_then(|ago| Utc::now().checked_sub_signed(ago));
                // Longer ago than there are instants: everything.
                Ok(then.unwrap_or(DateTime::<Utc>::MIN_UTC))
            }
        }
    }
}

/// When `day` begins in `zone`: at its first moment, where clocks skip midnight too.
fn begins(day: NaiveDate, zone: Tz) -> anyhow::Result<DateTime<Utc>> {
    let midnight = day.and_time(chrono::NaiveTime::MIN);
    let first = (0..=24 * 4).find_map(|quarters| {
        let local = midnight + TimeDelta::minutes(15 * quarters);
        zone.from_local_datetime(&local).earliest()
    });
    let first = first.ok_or_else(|| anyhow!("{day} has no beginning in {zone}"))?;
    Ok(first.to_utc())
}

impl Which {
    pub(super) fn filter(&self, topic: Option<String>, zone: Tz) -> anyhow::Result<Filter> {
        let next = self.dt.and_then(|day| day.succ_opt());
        let since = match (self.dt, self.since) {
            (Some(day), _) => Some(begins(day, zone)?),
            (None, since) => since.map(|since| since.instant(zone)).transpose()?,
        };
        Ok(Filter {
            topic,
            reasons: self.reason.clone(),
            // Letters call it as `land` does.
            source: self
                .source
                .and_then(|source| source.to_possible_value())
                .map(|source| source.get_name().to_owned()),
            since,
            until: next.map(|next| begins(next, zone)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use chrono_tz::Tz;

    use super::{Since, begins, since};

    #[test]
    fn a_moment_is_a_day_an_instant_or_a_time_ago() {
        assert!(matches!(since("2026-01-15"), Ok(Since::Day(_))));
        assert!(matches!(
            since("2026-01-15T10:00:00Z"),
            Ok(Since::Instant(_))
        ));
        assert!(matches!(since("7d"), Ok(Since::Ago(_))));
        assert!(since("2026-02-30").is_err() && since("soon").is_err());
    }

    #[test]
    fn a_day_begins_where_its_zone_says() {
        let check = |day: &str, zone: Tz, expected: &str| {
            let begins = begins(day.parse().expect(day), zone).expect(day);
            assert_eq!(begins, expected.parse::<DateTime<Utc>>().expect(expected));
        };
        check("2026-01-15", Tz::Europe__Paris, "2026-01-14T23:00:00Z");
        check("2026-07-15", Tz::Europe__Paris, "2026-07-14T22:00:00Z");
        // Clocks skip midnight.
        check("2026-04-24", Tz::Africa__Cairo, "2026-04-23T22:00:00Z");
    }
}
