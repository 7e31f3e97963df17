//! Metrics of landings. Rows count when they are committed, not before.

use std::collections::BTreeMap;

use chrono::Utc;
use connections::records::Positions;
use lake::TableName;
use service::metrics::{ByName, Counter, Gauge, Metrics, Unit};

use crate::dead_letters::NewDeadLetter;

/// The metrics of landings; clones share them. Those of `default` are not registered anywhere.
#[derive(Clone, Debug, Default)]
pub struct LandingCounters {
    rows: ByName<Counter>,
    /// Rows that wait for their commit.
    waiting: ByName<Gauge>,
    dead_letters: ByName<Counter, 2>,
    commits: ByName<Counter>,
    retries: ByName<Counter, 2>,
    last_commit_s: ByName<Gauge>,
    newest_event_s: ByName<Gauge>,
    offsets: ByName<Gauge, 2>,
    complete_until_s: ByName<Gauge, 2>,
    /// Offsets in Kafka beyond the committed positions.
    pub(crate) kafka_lag: Lag,
    /// Offsets below the position of `consume` and beyond the committed positions.
    pub(crate) postgres_lag: Lag,
    restarts: ByName<Counter>,
    stopped: ByName<Gauge>,
}

impl LandingCounters {
    /// Registers the metrics with `metrics`.
    pub fn register(metrics: &Metrics) -> Self {
        let counters = Self::default();
        counters.register_counters(metrics);
        counters.register_gauges(metrics);
        counters
    }

    fn register_counters(&self, metrics: &Metrics) {
        metrics.register("landed_rows", "Rows committed, by table", self.rows.clone());
        metrics.register(
            "landing_waiting_rows",
            "Rows that wait for their commit, by table",
            self.waiting.clone(),
        );
        metrics.register(
            "dead_letters",
            "Dead letters committed, by topic and the reason of the refusal",
            self.dead_letters.clone(),
        );
        metrics.register(
            "landing_commits",
            "Commits, each to all tables of the topic that have something new",
            self.commits.clone(),
        );
        metrics.register(
            "commit_retries",
            "Commits that were retried after a commit conflict",
            self.retries.clone(),
        );
        metrics.register(
            "landing_restarts",
            "Restarts of the landing of a topic, because a server was unavailable or another landing committed",
            self.restarts.clone(),
        );
    }

    fn register_gauges(&self, metrics: &Metrics) {
        metrics.register_with_unit(
            "last_commit_timestamp",
            "Time of the last commit; 0 before the first one",
            Unit::Seconds,
            self.last_commit_s.clone(),
        );
        metrics.register_with_unit(
            "newest_event_timestamp",
            "The newest event time among committed messages; 0 before the first one",
            Unit::Seconds,
            self.newest_event_s.clone(),
        );
        metrics.register(
            "landed_offset",
            "The lowest position of the tables in a topic partition: the next offset to land",
            self.offsets.clone(),
        );
        metrics.register_with_unit(
            "complete_until_timestamp",
            "The newest event time among the messages of a topic partition that all tables have",
            Unit::Seconds,
            self.complete_until_s.clone(),
        );
        metrics.register(
            "kafka_lag",
            "Offsets of a topic partition in Kafka beyond the position of its tables",
            self.kafka_lag.0.clone(),
        );
        metrics.register(
            "postgres_lag",
            "Offsets of a topic partition below the position of consume and beyond that of its tables",
            self.postgres_lag.0.clone(),
        );
        metrics.register(
            "landing_stopped",
            "1 for a topic whose landing has stopped for good while others go on",
            self.stopped.clone(),
        );
    }

    /// Shows the committed positions of a topic, and the newest event times before them.
    pub(crate) fn show_committed(
        &self,
        topic: &str,
        committed: &Positions,
        newest_us: &BTreeMap<i32, i64>,
    ) {
        for (partition, next) in committed {
            let labels = of_partition(topic, *partition);
            self.offsets.get_or_create(&labels).set(*next);
        }
        for (partition, newest_us) in newest_us {
            let labels = of_partition(topic, *partition);
            let newest_s = newest_us.div_euclid(1_000_000);
            self.complete_until_s.get_or_create(&labels).set(newest_s);
        }
    }

    /// The counter of retried commits to `table`.
    pub(crate) fn retries(&self, topic: &str, table: &TableName) -> Counter {
        let labels = [("topic", topic.to_owned()), ("table", table.to_string())];
        self.retries.get_or_create(&labels).clone()
    }

    pub(crate) fn restarted(&self, topic: &str) {
        self.restarts.get_or_create(&of(topic)).inc();
    }

    /// Shows whether the landing of `topic` has stopped permanently.
    pub(crate) fn show_stopped(&self, topic: &str, stopped: bool) {
        let shown = self.stopped.get_or_create(&of(topic));
        shown.set(i64::from(stopped));
    }
}

/// Offsets that the source has and the tables do not, by topic and topic partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lag(ByName<Gauge, 2>);

impl Lag {
    pub(crate) fn show(&self, topic: &str, topic_partition: i32, lag: i64) {
        let labels = of_partition(topic, topic_partition);
        self.0.get_or_create(&labels).set(lag.max(0));
    }
}

fn of(topic: &str) -> [(&'static str, String); 1] {
    [("topic", topic.to_owned())]
}

fn of_partition(topic: &str, topic_partition: i32) -> [(&'static str, String); 2] {
    [
        ("topic", topic.to_owned()),
        ("topic_partition", topic_partition.to_string()),
    ]
}

/// Counts what one landing holds, until it is committed.
pub(crate) struct Tally {
    /// The metrics that are updated.
    pub(crate) counters: LandingCounters,
    topic: String,
    /// Names of the tables, as labels.
    tables: Vec<[(&'static str, String); 1]>,
    /// What the buffer holds.
    filling: Pending,
    /// What the running commit holds.
    committing: Pending,
    /// Commits counted so far.
    commits: u64,
}

#[derive(Default)]
struct Pending {
    /// By number of the table.
    rows: BTreeMap<usize, u64>,
    /// By reason.
    dead_letters: BTreeMap<String, u64>,
    newest_event_us: i64,
}

impl Tally {
    pub(crate) fn new(counters: LandingCounters, topic: &str, tables: &[TableName]) -> Self {
        let label = |table: &TableName| [("table", table.to_string())];
        let tables: Vec<_> = tables.iter().map(label).collect();
        // Created at the start: `rate()` does not see the rows with which a counter first appears.
        for table in &tables {
            counters.rows.get_or_create(table).inc_by(0);
            counters.waiting.get_or_create(table).inc_by(0);
        }
        let label = of(topic);
        counters.commits.get_or_create(&label).inc_by(0);
        counters.restarts.get_or_create(&label).inc_by(0);
        for shown in [&counters.last_commit_s, &counters.newest_event_s] {
            // Creates the gauge. A restarted landing keeps its value.
            drop(shown.get_or_create(&label));
        }
        Self {
            counters,
            topic: topic.to_owned(),
            tables,
            filling: Pending::default(),
            committing: Pending::default(),
            commits: 0,
        }
    }

    /// Adds rows of the table with this number to the buffer.
    pub(crate) fn rows(&mut self, table: usize, count: usize) {
        *self.filling.rows.entry(table).or_default() += count as u64;
        self.show_waiting(table, i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn show_waiting(&self, table: usize, more: i64) {
        let waiting = self.counters.waiting.get_or_create(&self.tables[table]);
        waiting.inc_by(more);
    }

    pub(crate) fn dead_letters(&mut self, new: &[NewDeadLetter]) {
        for dead_letter in new {
            let reason = self.filling.dead_letters.entry(dead_letter.reason.clone());
            *reason.or_default() += 1;
        }
    }

    /// Adds messages up to this event time to the buffer.
    pub(crate) fn event(&mut self, newest_us: Option<i64>) {
        let newest = &mut self.filling.newest_event_us;
        *newest = newest_us.unwrap_or_default().max(*newest);
    }

    /// Starts the commit of the buffer; the commit before is done.
    pub(crate) fn seal(&mut self) {
        self.committing = std::mem::take(&mut self.filling);
    }

    /// Counts the running commit as done, if `commits` includes it.
    pub(crate) fn record_commits(&mut self, commits: u64) {
        if commits == self.commits {
            return;
        }
        let topic = of(&self.topic);
        let counted = self.counters.commits.get_or_create(&topic);
        counted.inc_by(commits - self.commits);
        drop(counted);
        self.commits = commits;
        let done = std::mem::take(&mut self.committing);
        for (table, count) in done.rows {
            let label = &self.tables[table];
            self.counters.rows.get_or_create(label).inc_by(count);
            self.show_waiting(table, -i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (reason, count) in done.dead_letters {
            let label = [("topic", self.topic.clone()), ("reason", reason)];
            self.counters
                .dead_letters
                .get_or_create(&label)
                .inc_by(count);
        }
        let committed_s = self.counters.last_commit_s.get_or_create(&topic);
        committed_s.set(Utc::now().timestamp());
        let newest_s = done.newest_event_us.div_euclid(1_000_000);
        let shown_s = self.counters.newest_event_s.get_or_create(&topic);
        shown_s.set(newest_s.max(shown_s.get()));
    }
}

impl Drop for Tally {
    /// Removes the waiting rows of this landing from the gauge: they are committed, or the source
    /// will send them again. Rows of other landings stay.
    fn drop(&mut self) {
        for pending in [&self.filling, &self.committing] {
            for (table, count) in &pending.rows {
                self.show_waiting(*table, -i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use service::metrics::Metrics;

    use super::{LandingCounters, Tally};

    #[test]
    fn landed_rows_count_when_their_commit_is_done() {
        let metrics = Metrics::new("1");
        let counters = LandingCounters::register(&metrics);
        let tables = ["weather", "dead_letters"].map(|name| name.parse().expect("a name"));
        let mut tally = Tally::new(counters, "t", &tables);
        let check = |expected: &[&str]| {
            let text = metrics.text().expect("a string takes everything");
            for line in expected {
                assert!(
                    text.lines().any(|found| found == *line),
                    "{line} in\n{text}"
                );
            }
        };
        tally.rows(0, 3);
        tally.event(Some(1_700_000_000_999_999));
        check(&["isobar_landed_rows_total{table=\"weather\"} 0"]);
        tally.seal();
        tally.rows(0, 5);
        tally.record_commits(0);
        check(&[
            "isobar_landed_rows_total{table=\"weather\"} 0",
            "isobar_landing_waiting_rows{table=\"weather\"} 8",
        ]);
        tally.record_commits(1);
        check(&[
            "isobar_landed_rows_total{table=\"weather\"} 3",
            "isobar_landed_rows_total{table=\"dead_letters\"} 0",
            "isobar_landing_commits_total{topic=\"t\"} 1",
            "isobar_newest_event_timestamp_seconds{topic=\"t\"} 1700000000",
        ]);
        tally.seal();
        tally.record_commits(2);
        check(&[
            "isobar_landed_rows_total{table=\"weather\"} 8",
            "isobar_landing_waiting_rows{table=\"weather\"} 0",
            "isobar_landing_commits_total{topic=\"t\"} 2",
            "isobar_newest_event_timestamp_seconds{topic=\"t\"} 1700000000",
        ]);
    }

    #[test]
    fn pending_rows_gauge_sums_topics_and_resets_on_drop() {
        let metrics = Metrics::new("1");
        let counters = LandingCounters::register(&metrics);
        let tables = ["dead_letters".parse().expect("a name")];
        let mut one = Tally::new(counters.clone(), "one", &tables);
        one.rows(0, 3);
        let mut other = Tally::new(counters, "other", &tables);
        let check = |waiting| {
            let text = metrics.text().expect("a string takes everything");
            let line = format!("isobar_landing_waiting_rows{{table=\"dead_letters\"}} {waiting}\n");
            assert!(text.contains(&line), "{line} in\n{text}");
        };
        other.rows(0, 4);
        other.seal();
        other.rows(0, 5);
        check(12);
        drop(other);
        check(3);
    }
}
