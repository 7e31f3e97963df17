//! Metrics and readiness of the producer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use service::metrics::{ByLabel, Counter, Gauge, Metrics, Unit};

use super::spool::Spool;
use crate::openweather;

/// Counters since the start. They are metrics once they are registered.
#[derive(Debug, Default)]
pub(super) struct Status {
    delivered: Counter,
    refused: Counter,
    polls: Counter,
    skipped: Counter,
    cities: ByLabel<Counter>,
    /// 1 or 0.
    kafka_up: Gauge,
    last_delivered: Gauge,
    problems: Mutex<Problems>,
}

/// Present problems, as texts for people.
#[derive(Debug, Default)]
struct Problems {
    kafka: Option<String>,
    poll: Option<String>,
    spool: Option<String>,
}

impl Status {
    /// Messages that Kafka has confirmed.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    pub(super) fn is_kafka_unavailable(&self) -> bool {
        self.problems().kafka.is_some()
    }

    /// Records that Kafka is unavailable. Returns whether it was available before.
    pub(super) fn set_kafka_unavailable(&self, why: String) -> bool {
        self.kafka_up.set(0);
        self.problems().kafka.replace(why).is_none()
    }

    /// Counts a message that Kafka has confirmed. Returns whether Kafka was unavailable before, or
    /// this is the first one.
    pub(super) fn message_delivered(&self) -> bool {
        self.kafka_up.set(1);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.last_delivered
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let was_unavailable = self.problems().kafka.take().is_some();
        self.delivered.inc() == 0 || was_unavailable
    }

    /// Messages that Kafka will never accept.
    pub(super) fn refused(&self) -> u64 {
        self.refused.get()
    }

    pub(super) fn message_refused(&self) {
        self.refused.inc();
    }

    pub(super) fn city_polled(&self) {
        self.cities.get_or_create(&[("outcome", "ok")]).inc();
    }

    pub(super) fn city_failed(&self) {
        self.cities.get_or_create(&[("outcome", "failed")]).inc();
    }

    /// Records the end of a poll; `problem` says why no city could be polled.
    pub(super) fn polled(&self, problem: Option<String>) {
        self.polls.inc();
        let mut problems = self.problems();
        problems.poll = problem;
        problems.spool = None;
    }

    /// Records that a poll was skipped because the spool is full. Returns whether this is the first
    /// one.
    pub(super) fn skipped(&self, why: &str) -> bool {
        self.skipped.inc();
        self.problems().spool.replace(why.to_owned()).is_none()
    }

    /// The reason why the producer is not ready.
    pub(super) fn problem(&self) -> Option<String> {
        let problems = self.problems();
        let all = [&problems.kafka, &problems.spool, &problems.poll];
        let present: Vec<&str> = all.into_iter().filter_map(Option::as_deref).collect();
        match present[..] {
            [] if self.delivered() == 0 => Some("no message has reached Kafka yet".to_owned()),
            [] => None,
            _ => Some(present.join("; ")),
        }
    }

    pub(super) fn register(
        &self,
        metrics: &Metrics,
        spool: &Spool,
        calls: &openweather::CallCounters,
    ) {
        let counters = [
            (
                "produced_messages",
                "Messages that Kafka confirmed",
                &self.delivered,
            ),
            (
                "refused_messages",
                "Messages that Kafka refused permanently",
                &self.refused,
            ),
            ("polls", "Polls of all cities", &self.polls),
            (
                "skipped_polls",
                "Polls skipped because the spool was full",
                &self.skipped,
            ),
            ("openweather_calls", "Calls of the API", &calls.calls),
            (
                "openweather_retries",
                "Calls of the API that were retried",
                &calls.retries,
            ),
            (
                "openweather_limited",
                "Calls that the API refused because of the rate limit",
                &calls.limited,
            ),
        ];
        for (name, help, counter) in counters {
            metrics.register(name, help, counter.clone());
        }
        metrics.register(
            "polled_cities",
            "Cities polled, by outcome",
            self.cities.clone(),
        );
        metrics.register(
            "kafka_up",
            "Whether Kafka confirmed the latest message",
            self.kafka_up.clone(),
        );
        metrics.register_with_unit(
            "last_produced_timestamp",
            "Time of the latest confirmation by Kafka",
            Unit::Seconds,
            self.last_delivered.clone(),
        );
        metrics.register(
            "spool_messages",
            "Messages that wait for Kafka",
            spool.messages_gauge.clone(),
        );
        metrics.register_with_unit(
            "spool",
            "Bytes of messages that wait for Kafka",
            Unit::Bytes,
            spool.bytes_gauge.clone(),
        );
    }

    fn problems(&self) -> MutexGuard<'_, Problems> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn change_is_reported_once_and_problems_are_joined() {
        let status = Status::default();
        let at_first = "no message has reached Kafka yet";
        assert_eq!(status.problem().as_deref(), Some(at_first));
        assert!(status.set_kafka_unavailable("no broker".to_owned()));
        assert!(!status.set_kafka_unavailable("still none".to_owned()));
        assert!(status.skipped("the spool is full") && !status.skipped("the spool is full"));
        status.city_failed();
        assert_eq!(
            status.problem().as_deref(),
            Some("still none; the spool is full")
        );
        assert!(status.message_delivered() && !status.message_delivered());
        assert_eq!(
            (status.delivered(), status.is_kafka_unavailable()),
            (2, false)
        );
        status.polled(Some("the key was refused".to_owned()));
        assert_eq!(status.problem().as_deref(), Some("the key was refused"));
        status.polled(None);
        assert_eq!(status.problem(), None);
    }
}
