//! The options that filter dead letters.

use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use clap::ValueEnum as _;
use ingest::dead_letters::Filter;

use crate::commands::land::Source;
use crate::commands::run;

/// The filters of `list` and `replay`.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Only dead letters with this reason; repeatable, then with any of them
    #[arg(long)]
    reason: Vec<String>,
    /// Only dead letters from this source
    #[arg(long, value_enum)]
    source: Option<Source>,
    /// Only dead letters received since then: a day, an instant, or as long ago as `90m`, `12h`,
    /// `7d`
    #[arg(long, value_name = "WHEN", value_parser = since, conflicts_with = "dt")]
    since: Option<Since>,
    /// Only dead letters received on this day, in time.zone
    #[arg(long, value_name = "DAY", value_parser = run::day)]
    dt: Option<NaiveDate>,
}

/// A start time: a day, an instant, or a duration before now.
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
            Self::Day(day) => start_of(day, zone),
            Self::Instant(instant) => Ok(instant),
            Self::Ago(ago) => {
                let then = TimeDelta::from_std(ago).ok();
                let then = then.and_then(|ago| Utc::now().checked_sub_signed(ago));
                // A duration that reaches before the first instant selects everything.
                Ok(then.unwrap_or(DateTime::<Utc>::MIN_UTC))
            }
        }
    }
}

/// The first instant of `day` in `zone`, even where clocks skip midnight.
fn start_of(day: NaiveDate, zone: Tz) -> anyhow::Result<DateTime<Utc>> {
    let midnight = day.and_time(chrono::NaiveTime::MIN);
    let first = (0..=24 * 4).find_map(|quarters| {
        let local = midnight + TimeDelta::minutes(15 * quarters);
        zone.from_local_datetime(&local).earliest()
    });
    let first = first.ok_or_else(|| anyhow!("{day} has no beginning in {zone}"))?;
    Ok(first.to_utc())
}

impl FilterArgs {
    pub(super) fn filter(&self, topic: Option<String>, zone: Tz) -> anyhow::Result<Filter> {
        let next = self.dt.and_then(|day| day.succ_opt());
        let since = match (self.dt, self.since) {
            (Some(day), _) => Some(start_of(day, zone)?),
            (None, since) => since.map(|since| since.instant(zone)).transpose()?,
        };
        Ok(Filter {
            topic,
            reasons: self.reason.clone(),
            // Column `source` has the names of `land --from`.
            source: self
                .source
                .and_then(|source| source.to_possible_value())
                .map(|source| source.get_name().to_owned()),
            since,
            until: next.map(|next| start_of(next, zone)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use chrono_tz::Tz;

    use super::{Since, since, start_of};

    #[test]
    fn since_is_a_day_an_instant_or_a_duration() {
        assert!(matches!(since("2026-01-15"), Ok(Since::Day(_))));
        assert!(matches!(
            since("2026-01-15T10:00:00Z"),
            Ok(Since::Instant(_))
        ));
        assert!(matches!(since("7d"), Ok(Since::Ago(_))));
        assert!(since("2026-02-30").is_err() && since("soon").is_err());
    }

    #[test]
    fn day_starts_in_its_zone() {
        let check = |day: &str, zone: Tz, expected: &str| {
            let start = start_of(day.parse().expect(day), zone).expect(day);
            assert_eq!(start, expected.parse::<DateTime<Utc>>().expect(expected));
        };
        check("2026-01-15", Tz::Europe__Paris, "2026-01-14T23:00:00Z");
        check("2026-07-15", Tz::Europe__Paris, "2026-07-14T22:00:00Z");
        // Clocks skip midnight.
        check("2026-04-24", Tz::Africa__Cairo, "2026-04-23T22:00:00Z");
    }
}
