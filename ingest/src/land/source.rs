//! The one contract of all sources: what a landing asks of where its messages come from.
//!
//! Each message has its identity, topic, topic partition and offset, the same on every road, and what a table has is
//! skipped, whoever brought it. A source that has an order of its own also records positions, in the commits of the
//! rows. A position says: the table has everything that *this source* has, or will ever have, before it. It says nothing
//! about other sources, each of which may have what the others have lost, and so it spares reading and decides nothing
//! else.
//!
//! | source | its order | what it records |
//! | --- | --- | --- |
//! | files | none | nothing: what is in them is looked for in the tables |
//! | Kafka | offsets, from the first that it still has | the next offset of each topic partition |
//! | PostgreSQL | offsets, up to where `consume` has been | the same; rows behind are looked for in the tables |

use std::collections::BTreeMap;

use super::metrics::Counters;
use super::tables::Recording;
use crate::error::Error;
use crate::source::kafka::{Connection, Extent};
use crate::source::{Positions, postgres};

/// Where the messages of a landing come from.
pub(crate) enum Source {
    Files,
    Kafka {
        connection: Connection,
        /// What the topic held when the landing began.
        extents: BTreeMap<i32, Extent>,
    },
    Postgres {
        recording: Recording,
        seen: postgres::Seen,
    },
}

impl Source {
    /// How it records its positions, if it has any.
    pub(crate) fn recording(&self, topic: &str) -> Option<Recording> {
        match self {
            Self::Files => None,
            Self::Kafka { connection, .. } => Some(Recording::kafka(topic, connection.id())),
            Self::Postgres { recording, .. } => Some(recording.clone()),
        }
    }

    /// The topic partitions that it may yield messages of, of one that has positions.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        match self {
            Self::Files => Vec::new(),
            Self::Kafka { extents, .. } => extents.keys().copied().collect(),
            Self::Postgres { seen, .. } => seen.get().into_keys().collect(),
        }
    }

    /// Fails when the source is another one than at the beginning.
    pub(crate) async fn refuse_another(&self) -> Result<(), Error> {
        match self {
            // While a connection lasts, nobody puts another database in its place.
            Self::Files | Self::Postgres { .. } => Ok(()),
            Self::Kafka { connection, .. } => connection.refuse_recreated().await,
        }
    }

    /// Shows others how far it has landed.
    pub(crate) fn display(&self, positions: &Positions) {
        match self {
            Self::Kafka { connection, .. } if !positions.is_empty() => {
                connection.display(positions);
            }
            Self::Kafka { .. } | Self::Files | Self::Postgres { .. } => {}
        }
    }

    /// Shows what it has of `topic` behind what is committed.
    pub(crate) fn show_lag(&self, topic: &str, committed: &Positions, counters: &Counters) {
        let next = |number: &i32| committed.get(number).copied();
        match self {
            Self::Files => {}
            Self::Kafka {
                connection,
                extents,
            } => {
                for (number, extent) in extents {
                    let end = connection.known_end(*number).unwrap_or(extent.high);
                    let lag = end - next(number).unwrap_or(extent.low);
                    counters.kafka_lag.show(topic, *number, lag);
                }
            }
            Self::Postgres { seen, .. } => {
                for (number, extent) in seen.get() {
                    let lag = extent.complete - next(&number).unwrap_or_default();
                    counters.postgres_lag.show(topic, number, lag);
                }
            }
        }
    }
}
