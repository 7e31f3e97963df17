//! What a landing requires of its source, the same for all sources.
//!
//! Each message has an identity: topic, topic partition and offset. It is the same from every
//! source, so a landing skips messages that another source has brought. An ordered source also
//! records positions, in the commits of the rows. A position states: the table holds every message
//! that *this source* has, or will ever have, before it. It states nothing about other sources, any
//! of which may have messages that this one has lost.
//!
//! | source | order | what it records |
//! | --- | --- | --- |
//! | files | none | nothing: the landing looks for each message in the tables |
//! | Kafka | offsets, from the first that still exists | the next offset of each topic partition |
//! | PostgreSQL | offsets, up to the position of `consume` | the same; later rows are looked for in the tables |

use std::collections::BTreeMap;

use connections::kafka::{Connection, Watermarks};
use connections::records::Positions;

use crate::error::Error;
use crate::land::commit::tables::Recording;
use crate::land::metrics::LandingCounters;
use crate::source::postgres;

/// The source of a landing.
pub(crate) enum LandingSource {
    Files,
    Kafka {
        connection: Connection,
        /// Offsets that the topic held when the landing opened.
        watermarks: BTreeMap<i32, Watermarks>,
    },
    Postgres {
        recording: Recording,
        /// Extents of the table, updated by the reader.
        extents: postgres::SharedExtents,
    },
}

impl LandingSource {
    /// How positions are recorded; none for files.
    pub(crate) fn recording(&self, topic: &str) -> Option<Recording> {
        match self {
            Self::Files => None,
            Self::Kafka { connection, .. } => Some(Recording::kafka(topic, connection.id())),
            Self::Postgres { recording, .. } => Some(recording.clone()),
        }
    }

    /// The topic partitions of an ordered source.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        match self {
            Self::Files => Vec::new(),
            Self::Kafka { watermarks, .. } => watermarks.keys().copied().collect(),
            Self::Postgres { extents, .. } => extents.get().into_keys().collect(),
        }
    }

    /// Fails when the topic was deleted or recreated since the landing opened.
    pub(crate) async fn check_same_topic(&self) -> Result<(), Error> {
        match self {
            // An open connection stays with the same database.
            Self::Files | Self::Postgres { .. } => Ok(()),
            Self::Kafka { connection, .. } => Ok(connection.check_not_recreated().await?),
        }
    }

    /// Publishes the landed positions in the consumer group.
    pub(crate) fn commit_group_offsets(&self, positions: &Positions) {
        match self {
            Self::Kafka { connection, .. } if !positions.is_empty() => {
                connection.commit_group_offsets(positions);
            }
            Self::Kafka { .. } | Self::Files | Self::Postgres { .. } => {}
        }
    }

    /// Publishes the lag: offsets of the source beyond the committed positions.
    pub(crate) fn show_lag(&self, topic: &str, committed: &Positions, counters: &LandingCounters) {
        let next = |number: &i32| committed.get(number).copied();
        match self {
            Self::Files => {}
            Self::Kafka {
                connection,
                watermarks,
            } => {
                for (number, held) in watermarks {
                    let end = connection.known_end(*number).unwrap_or(held.high);
                    let lag = end - next(number).unwrap_or(held.low);
                    counters.kafka_lag.show(topic, *number, lag);
                }
            }
            Self::Postgres { extents, .. } => {
                for (number, extent) in extents.get() {
                    let lag = extent.complete - next(&number).unwrap_or_default();
                    counters.postgres_lag.show(topic, number, lag);
                }
            }
        }
    }
}
