//! The instant of an export line's local time.
//!
//! Export lines have the event time as local time of Europe/Paris, whatever zone is configured. For
//! one hour each autumn the text stands for two instants, and the message's own time decides.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Europe::Paris;

/// Limit of the delay between the message's own time and its time in Kafka.
const DELAY_MAX: TimeDelta = TimeDelta::minutes(15);

/// Resolves `text`, `YYYY-MM-DD HH:MM:SS`, to an instant, or describes what is wrong with it.
///
/// Of two instants it chooses the one up to 15 minutes after `observed_at`, else the first.
pub(crate) fn resolve(text: &str, observed_at: Option<i64>) -> Result<DateTime<Utc>, String> {
    let local = (text.len() == "2026-01-15 00:00:00".len())
        .then(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok())
        .flatten()
        .ok_or_else(|| {
            format!(
                "event_time \"{}\" is not a time such as 2026-01-15 10:00:00",
                shown(text)
            )
        })?;
    match Paris.from_local_datetime(&local) {
        LocalResult::Single(instant) => Ok(instant.to_utc()),
        LocalResult::None => Err(format!(
            "event_time \"{text}\" does not exist: Europe/Paris clocks skip that hour"
        )),
        LocalResult::Ambiguous(first, second) => {
            let fits = |instant: DateTime<Utc>| {
                observed_at
                    .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
                    .is_some_and(|observed| {
                        (TimeDelta::zero()..=DELAY_MAX).contains(&(instant - observed))
                    })
            };
            let (first, second) = (first.to_utc(), second.to_utc());
            let instants = if first <= second {
                [first, second]
            } else {
                [second, first]
            };
            let fitting = instants.into_iter().find(|instant| fits(*instant));
            Ok(fitting.unwrap_or(instants[0]))
        }
    }
}

fn shown(text: &str) -> String {
    text.chars()
        .take(40)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::resolve;

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn local_time_resolves_to_instant() {
        let check = |text: &str, expected: &str| {
            assert_eq!(resolve(text, None), Ok(instant(expected)), "{text}")
        };
        check("2026-01-15 10:00:00", "2026-01-15T09:00:00Z");
        check("2026-07-15 10:00:00", "2026-07-15T08:00:00Z");
        check("2026-03-29 01:59:59", "2026-03-29T00:59:59Z");
        check("2026-03-29 03:00:00", "2026-03-29T01:00:00Z");
        check("2026-10-25 02:30:00", "2026-10-25T00:30:00Z");
        for wrong in [
            "2026-03-29 02:30:00",
            "2026-13-45 99:99:99",
            "",
            "2026-01-15T10:00:00Z",
            "2026-1-15 10:00:00 ",
        ] {
            assert!(resolve(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn repeated_hour_is_resolved_by_observation_time() {
        let check = |observed: &str, expected: &str| {
            let observed = instant(observed).timestamp();
            assert_eq!(
                resolve("2026-10-25 02:30:00", Some(observed)),
                Ok(instant(expected))
            );
        };
        check("2026-10-25T00:20:00Z", "2026-10-25T00:30:00Z");
        check("2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z");
        check("2026-10-25T01:15:00Z", "2026-10-25T01:30:00Z");
        check("2026-10-25T01:30:00Z", "2026-10-25T01:30:00Z");
        // Neither instant fits: the observation is after both, or long before.
        check("2026-10-25T01:31:00Z", "2026-10-25T00:30:00Z");
        check("2026-10-24T00:00:00Z", "2026-10-25T00:30:00Z");
    }
}
