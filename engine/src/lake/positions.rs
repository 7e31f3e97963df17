//! How far the topics of a table were read: the names under which its log records it, and what stands there.
//!
//! Landings write these numbers, in the commit of the rows that they stand for; everybody may read them.

use super::snapshot::Snapshot;
use crate::error::Error;

/// Columns that every landed table has: a row says which message it came from.
pub const IDENTITY: [&str; 3] = ["kafka_topic", "kafka_partition", "kafka_offset"];

/// What stands behind the name of a position, for the newest event time.
const NEWEST_EVENT: &str = "/newest-event";

/// The names under which the log of a table records numbers for one topic, whatever source its messages come from.
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

    /// The marks that landings leave.
    pub fn mark(&self) -> String {
        format!("isobar/landing/{}", self.topic)
    }

    /// Which Kafka topic of that name the messages are of: the halves of its id.
    pub fn id(&self) -> [String; 2] {
        ["high", "low"].map(|half| format!("isobar/kafka/{}/id-{half}", self.topic))
    }
}

/// The names under which the log of a table records how far one source of a topic was read.
#[derive(Clone, Debug)]
pub struct PositionNames {
    /// What they begin with, before the number of the topic partition.
    source: String,
}

impl PositionNames {
    pub fn kafka(topic: &str) -> Self {
        Self {
            source: format!("isobar/kafka/{topic}/"),
        }
    }

    /// `tables` tells the tables of one database from those of another.
    pub fn postgres(topic: &str, tables: i64) -> Self {
        Self {
            source: format!("isobar/postgres/{topic}/{tables}/"),
        }
    }

    /// The offset of the next message to take of a topic partition.
    pub fn position(&self, partition: i32) -> String {
        format!("{}{partition}", self.source)
    }

    /// The newest event time of the messages before that offset, UTC microseconds.
    pub fn newest_event(&self, partition: i32) -> String {
        format!("{}{NEWEST_EVENT}", self.position(partition))
    }
}

/// How far a table has one topic partition of one kind of source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reached {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// As `isobar land --from` names it.
    pub(crate) source: &'static str,
    /// The table has everything that the source has of the topic partition before this offset.
    pub(crate) next_offset: i64,
    /// Newest event time among those messages, UTC microseconds, if it was recorded.
    pub(crate) newest_event_us: Option<i64>,
}

impl Snapshot {
    /// How far the table has each topic partition that was landed with positions. No data file is read.
    pub(crate) async fn reached(&self) -> Result<Vec<Reached>, Error> {
        // Tables that nothing lands in are not asked for their log.
        if self.schema().index_of(IDENTITY[2]).is_err() {
            return Ok(Vec::new());
        }
        let all = self.transactions().await?;
        let reached = all.iter().filter_map(|(name, next_offset)| {
            let (source, topic, partition) = position(name)?;
            let newest = format!("{name}{NEWEST_EVENT}");
            Some(Reached {
                topic: topic.to_owned(),
                partition,
                source,
                next_offset: *next_offset,
                newest_event_us: all.get(&newest).copied(),
            })
        });
        let mut reached: Vec<_> = reached.collect();
        // Of several databases the one counts that was read furthest: what it had is there.
        reached.sort_by(|one, other| other.cmp(one));
        reached.dedup_by(|behind, ahead| {
            (&behind.topic, behind.partition, behind.source)
                == (&ahead.topic, ahead.partition, ahead.source)
        });
        reached.reverse();
        Ok(reached)
    }
}

/// What the position recorded under `name` is of, if it is one: the kind of source, topic and topic partition.
fn position(name: &str) -> Option<(&'static str, &str, i32)> {
    let (source, (topic, partition)) = if let Some(rest) = name.strip_prefix("isobar/kafka/") {
        ("kafka", rest.rsplit_once('/')?)
    } else {
        let rest = name.strip_prefix("isobar/postgres/")?;
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
    fn a_position_says_what_it_is_of_and_other_names_are_none() {
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
        for other in [names.mark(), high, low].iter().chain(&newest) {
            assert_eq!(position(other), None, "{other}");
        }
        assert_eq!(position("another/writer/1"), None);
    }
}
