//! How far the topics of a table were read: the application ids that record it, and their values.
//!
//! A landing records its positions in the commit of the rows that they describe. Any reader of the
//! table can look them up.

use crate::error::Error;
use crate::snapshot::Snapshot;

/// Columns of every landed table: the identity of the message that a row came from.
pub const IDENTITY: [&str; 3] = ["kafka_topic", "kafka_partition", "kafka_offset"];

/// Suffix of the application id that records the newest event time beside a position.
const NEWEST_EVENT: &str = "/newest-event";

/// The application ids of one topic that do not depend on the source of its messages.
#[derive(Clone, Debug)]
pub struct TopicNames {
    topic: String,
}

impl TopicNames {
    pub fn of(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
        }
    }

    /// The id of the fencing tokens that landings of the topic commit. A landing that finds another
    /// landing's token stops, since both may have landed the same messages.
    pub fn landing_token(&self) -> String {
        format!("isobar/landing/{}", self.topic)
    }

    /// The ids that record the two halves of the Kafka topic id: a recreated topic has another one.
    pub fn id(&self) -> [String; 2] {
        ["high", "low"].map(|half| format!("isobar/kafka/{}/id-{half}", self.topic))
    }
}

/// The application ids that record how far one source of a topic was read.
#[derive(Clone, Debug)]
pub struct PositionNames {
    /// Their prefix, before the number of the topic partition.
    source: String,
}

impl PositionNames {
    pub fn kafka(topic: &str) -> Self {
        Self {
            source: format!("isobar/kafka/{topic}/"),
        }
    }

    /// `tables` identifies the set of consumer tables, so that each database has its own positions.
    pub fn postgres(topic: &str, tables: i64) -> Self {
        Self {
            source: format!("isobar/postgres/{topic}/{tables}/"),
        }
    }

    /// Records the offset of the next message to land of a topic partition.
    pub fn position(&self, partition: i32) -> String {
        format!("{}{partition}", self.source)
    }

    /// Records the newest event time of the messages before that offset, UTC microseconds.
    pub fn newest_event(&self, partition: i32) -> String {
        format!("{}{NEWEST_EVENT}", self.position(partition))
    }
}

/// How far a table has landed one topic partition from one kind of source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceProgress {
    pub topic: String,
    /// The topic partition.
    pub partition: i32,
    /// The kind of source, as `isobar land --from` names it.
    pub source: &'static str,
    /// The table has every message of the topic partition that the source holds before this offset.
    pub next_offset: i64,
    /// Newest event time among these messages, UTC microseconds, if recorded.
    pub newest_event_us: Option<i64>,
}

impl Snapshot {
    /// The progress of each topic partition that was landed with positions. Reads the log only.
    pub async fn source_progress(&self) -> Result<Vec<SourceProgress>, Error> {
        // A table that is not landed into has no identity columns, and its log is not read.
        if self.schema().index_of(IDENTITY[2]).is_err() {
            return Ok(Vec::new());
        }
        let all = self.transactions().await?;
        let found = all.iter().filter_map(|(name, next_offset)| {
            let (source, topic, partition) = position(name)?;
            let newest = format!("{name}{NEWEST_EVENT}");
            Some(SourceProgress {
                topic: topic.to_owned(),
                partition,
                source,
                next_offset: *next_offset,
                newest_event_us: all.get(&newest).copied(),
            })
        });
        let mut progress: Vec<_> = found.collect();
        // With several PostgreSQL databases the one that was read furthest counts: its messages
        // have landed.
        progress.sort_by(|one, other| other.cmp(one));
        progress.dedup_by(|behind, ahead| {
            (&behind.topic, behind.partition, behind.source)
                == (&ahead.topic, ahead.partition, ahead.source)
        });
        progress.reverse();
        Ok(progress)
    }
}

/// The kind of source, topic and topic partition of the position that `app_id` records; `None` for
/// other application ids.
fn position(app_id: &str) -> Option<(&'static str, &str, i32)> {
    let (source, (topic, partition)) = if let Some(rest) = app_id.strip_prefix("isobar/kafka/") {
        ("kafka", rest.rsplit_once('/')?)
    } else {
        let rest = app_id.strip_prefix("isobar/postgres/")?;
        let (of_tables, partition) = rest.rsplit_once('/')?;
        let (topic, tables) = of_tables.rsplit_once('/')?;
        tables.parse::<i64>().ok()?;
        ("postgres", (topic, partition))
    };
    Some((source, topic, partition.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{PositionNames, TopicNames, position};

    #[test]
    fn position_app_id_yields_source_topic_and_partition() {
        let topic = "weather-api.2";
        let [kafka, postgres] = [
            PositionNames::kafka(topic),
            PositionNames::postgres(topic, -7),
        ];
        assert_eq!(position(&kafka.position(11)), Some(("kafka", topic, 11)));
        let of_postgres = postgres.position(11);
        assert_eq!(position(&of_postgres), Some(("postgres", topic, 11)));
        let names = TopicNames::of(topic);
        let [high, low] = names.id();
        let newest = [kafka.newest_event(11), postgres.newest_event(11)];
        for other in [names.landing_token(), high, low].iter().chain(&newest) {
            assert_eq!(position(other), None, "{other}");
        }
        assert_eq!(position("another/writer/1"), None);
    }
}
