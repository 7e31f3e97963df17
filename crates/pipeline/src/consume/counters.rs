//! Metrics of a consumption.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use connections::records::Positions;
use service::metrics::{ByLabel, ByName, Counter, Gauge, Metrics, Unit};

use super::Consumed;

/// Metrics of a consumption. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ConsumeCounters {
    messages: ByLabel<Counter>,
    transactions: Counter,
    /// Restarts after transient failures.
    pub(super) retries: Counter,
    behind: Gauge,
    next: ByName<Gauge>,
    committed: Gauge,
    event_time: ByName<Gauge>,
}

impl ConsumeCounters {
    /// Registers them as `isobar_consume_…`.
    pub fn register(metrics: &Metrics) -> Self {
        let counters = Self::default();
        metrics.register(
            "consume_messages",
            "Messages by outcome: a row, a dead letter, or none because PostgreSQL has it already",
            counters.messages.clone(),
        );
        metrics.register(
            "consume_transactions",
            "Transactions committed in PostgreSQL",
            counters.transactions.clone(),
        );
        metrics.register(
            "consume_retries",
            "Restarts of the service, because PostgreSQL or Kafka was unavailable",
            counters.retries.clone(),
        );
        metrics.register(
            "consume_behind_messages",
            "Offsets in Kafka beyond the positions in PostgreSQL",
            counters.behind.clone(),
        );
        metrics.register(
            "consume_next_offset",
            "The position: PostgreSQL has everything of a topic partition before this offset",
            counters.next.clone(),
        );
        metrics.register_with_unit(
            "consume_committed_timestamp",
            "Time of the last commit",
            Unit::Seconds,
            counters.committed.clone(),
        );
        metrics.register_with_unit(
            "consume_event_time",
            "The newest event time among the rows of a topic partition that were committed",
            Unit::Seconds,
            counters.event_time.clone(),
        );
        counters
    }

    pub(super) fn record_written(&self, written: &Consumed, newest: &BTreeMap<i32, DateTime<Utc>>) {
        for (outcome, count) in [
            ("inserted", written.inserted),
            ("repeated", written.repeated),
            ("refused", written.refused),
        ] {
            self.messages
                .get_or_create(&[("outcome", outcome)])
                .inc_by(count);
        }
        self.transactions.inc_by(written.transactions);
        self.committed.set(Utc::now().timestamp());
        for (partition, newest) in newest {
            let gauge = self.event_time.get_or_create(&of_partition(*partition));
            gauge.set(newest.timestamp().max(gauge.get()));
        }
    }

    /// Shows the positions in PostgreSQL.
    pub(super) fn show_positions(&self, positions: &Positions) {
        for (partition, next) in positions {
            let label = of_partition(*partition);
            self.next.get_or_create(&label).set(*next);
        }
    }

    pub(super) fn set_lag(&self, messages: u64) {
        self.behind.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }
}

fn of_partition(topic_partition: i32) -> [(&'static str, String); 1] {
    [("topic_partition", topic_partition.to_string())]
}
