//! Computes when polls are due: at whole multiples of the interval, so that the times do not depend
//! on the start of the process, plus jitter, so that not all clients call the API in the same
//! second.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::sleep;

use crate::jitter::jitter;

/// How often the wall clock is read: timers do not notice that it was set, or that the machine
/// slept.
const CLOCK_INTERVAL: Duration = Duration::from_secs(20);
/// Limit of the jitter.
const JITTER_MAX: Duration = Duration::from_secs(10);

/// The schedule of a poller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    interval: Duration,
}

impl Schedule {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval }
    }

    /// Waits until the first poll that is due after `last`: the time of the last poll, or of the
    /// start. Returns the time at which it was due.
    pub(crate) async fn next(&self, last: DateTime<Utc>) -> DateTime<Utc> {
        let jitter = (self.interval / 20).min(JITTER_MAX).mul_f64(jitter());
        loop {
            let due = self.due(last, Utc::now());
            match (due + TimeDelta::from_std(jitter).unwrap_or_default() - Utc::now()).to_std() {
                Ok(left) if !left.is_zero() => sleep(left.min(CLOCK_INTERVAL)).await,
                _ => return due,
            }
        }
    }

    /// The multiple to poll at `now`, after the poll of `last`. Of missed ones only the latest is
    /// polled: the API returns present weather only.
    fn due(&self, last: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        let latest = self.multiple(now);
        if last < latest {
            return latest;
        }
        // After the clock was set back, the poll must not wait until `last` comes again.
        latest + TimeDelta::from_std(self.interval).unwrap_or_default()
    }

    /// The last multiple of the interval that is not after `at`.
    fn multiple(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let interval_ms = i64::try_from(self.interval.as_millis())
            .unwrap_or(i64::MAX)
            .max(1);
        let ms = at.timestamp_millis();
        DateTime::from_timestamp_millis(ms - ms.rem_euclid(interval_ms)).unwrap_or(at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    use super::Schedule;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-01-15T{time}Z").parse().expect("an instant")
    }

    #[test]
    fn polls_are_due_at_multiples_of_the_interval() {
        let check = |interval: &str, last: &str, now: &str, due: &str| {
            let interval = match interval.split_at(interval.len() - 1) {
                (minutes, "m") => {
                    Duration::from_secs(60 * minutes.parse::<u64>().expect("a number"))
                }
                (seconds, _) => Duration::from_secs(seconds.parse().expect("a number")),
            };
            let found = Schedule::new(interval).due(at(last), at(now));
            assert_eq!(found, at(due), "{interval:?} {last} {now}");
        };
        // Started between two multiples: the next one.
        check("10m", "12:03:20", "12:03:25", "12:10:00");
        check("10m", "12:10:00", "12:10:00.001", "12:20:00");
        // A poll took longer than the interval: the one that is due now, and none of those before.
        check("10m", "12:10:00", "12:45:00", "12:40:00");
        check("10m", "12:10:00", "12:20:00", "12:20:00");
        // The clock was set back.
        check("10m", "12:10:00", "09:59:00", "10:00:00");
        check("1s", "12:10:00", "12:10:00.300", "12:10:01");
        check("11m", "00:00:00", "00:00:01", "00:08:00");
        check("60m", "12:10:00", "12:50:00", "13:00:00");
    }

    #[tokio::test]
    async fn waiting_ends_at_the_multiple_or_a_little_later() {
        let schedule = Schedule::new(Duration::from_millis(200));
        let mut last = Utc::now();
        for _ in 0..3 {
            let due = schedule.next(last).await;
            assert!(due > last && due <= Utc::now());
            assert_eq!(due.timestamp_millis() % 200, 0);
            last = due;
        }
    }
}
