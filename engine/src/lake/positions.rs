//! How far the topics of a table were read: the names under which its log records it, and what stands there.
//!
//! Landings write these numbers, in the commit of the rows that they stand for; everybody may read them.

use super::snapshot::Snapshot;
use crate::error::Error;

/// Columns that every landed table has: a row says which message it came from.
pub const IDENTITY: [&str; 3] = ["kafka_topic", "kafka_partition", "kafka_offset"];

/// What every position is recorded under begins with.
const POSITIONS: &str = "isobar/kafka/";
/// What stands behind the number of a topic partition, for its newest event time.
const NEWEST_EVENT: &str = "/newest-event";

/// The names under which the log of a table records numbers for one topic.
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

    /// Which topic of that name the positions are of: the halves of its id.
    pub fn id(&self) -> [String; 2] {
        ["high", "low"].map(|half| format!("{POSITIONS}{}/id-{half}", self.topic))
    }

    /// The offset of the next message to take of a topic partition.
    pub fn position(&self, partition: i32) -> String {
        format!("{POSITIONS}{}/{partition}", self.topic)
    }

    /// The newest event time of the messages before that offset, UTC microseconds.
    pub fn newest_event(&self, partition: i32) -> String {
        format!("{}{NEWEST_EVENT}", self.position(partition))
    }
}

/// How far a table has one topic partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reached {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The table has everything that the topic partition held before this offset.
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
        let mut reached: Vec<_> = all
            .iter()
            .filter_map(|(name, next_offset)| {
                let (topic, partition) = topic_partition(name)?;
                let newest = TopicNames::of(topic).newest_event(partition);
                Some(Reached {
                    topic: topic.to_owned(),
                    partition,
                    next_offset: *next_offset,
                    newest_event_us: all.get(&newest).copied(),
                })
            })
            .collect();
        reached.sort();
        Ok(reached)
    }
}

/// What the position recorded under `name` is of, if it is one.
fn topic_partition(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.strip_prefix(POSITIONS)?.rsplit_once('/')?;
    Some((topic, partition.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{TopicNames, topic_partition};

    #[test]
    fn a_position_says_what_it_is_of_and_other_names_are_none() {
        let names = TopicNames::of("weather-api.2");
        let position = names.position(11);
        assert_eq!(topic_partition(&position), Some(("weather-api.2", 11)));
        let [high, low] = names.id();
        for other in [names.mark(), high, low, names.newest_event(11)] {
            assert_eq!(topic_partition(&other), None, "{other}");
        }
        assert_eq!(topic_partition("another/writer/1"), None);
    }
}
