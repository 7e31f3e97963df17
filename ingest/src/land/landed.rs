//! Which messages are rows of a table already.
//!
//! A message's identity is topic, topic partition and offset, on whatever road it comes. Each table answers
//! for itself, from its own rows: after a crash between two tables' commits one has a message and the other
//! has not.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use engine::lake::TableName;
use engine::session::Session;
use futures::TryStreamExt as _;
use roaring::RoaringTreemap;

use super::dead_letters::{self, DeadLetter};
use crate::error::Error;
use crate::source::Positions;

/// Identities of one topic's messages.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// Of each topic partition, all before this offset.
    below: Positions,
    /// And these, by topic partition.
    beyond: HashMap<i32, RoaringTreemap>,
}

impl Identities {
    /// Those that the position of a table stands for.
    pub(crate) fn below(positions: Positions) -> Self {
        Self {
            below: positions,
            beyond: HashMap::new(),
        }
    }

    /// Adds an identity; false when it was there already.
    pub(crate) fn insert(&mut self, partition: i32, offset: i64) -> bool {
        let below = self.below.get(&partition);
        if below.is_some_and(|below| offset < *below) {
            return false;
        }
        let beyond = self.beyond.entry(partition).or_default();
        beyond.insert(u64::try_from(offset).unwrap_or_default())
    }

    /// Adds all of `other` that do not lie below a position.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (partition, offsets) in &other.beyond {
            *self.beyond.entry(*partition).or_default() |= offsets;
        }
    }

    /// Whether this identity is among those that were added one by one.
    pub(crate) fn has(&self, (partition, offset): (i32, i64)) -> bool {
        let beyond = self.beyond.get(&partition);
        let offset = u64::try_from(offset).unwrap_or_default();
        beyond.is_some_and(|beyond| beyond.contains(offset))
    }

    /// Adds all before these positions.
    pub(crate) fn advance(&mut self, positions: &Positions) {
        for (partition, next) in positions {
            let below = self.below.entry(*partition).or_insert(*next);
            *below = (*below).max(*next);
            if let Some(beyond) = self.beyond.get_mut(partition) {
                beyond.remove_range(..u64::try_from(*below).unwrap_or_default());
            }
        }
    }

    /// The lowest offset that may be missing here.
    fn first_open(&self) -> i64 {
        self.below.values().copied().min().unwrap_or_default()
    }

    /// Adds those that `table` has rows of.
    pub(crate) async fn read(
        mut self,
        session: &Session,
        table: &TableName,
        topic: &str,
    ) -> Result<Self, Error> {
        let columns = "kafka_partition, kafka_offset";
        let first = self.first_open();
        scan(session, table, topic, columns, first, |batch| {
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let offsets = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                if partitions.is_valid(row) && offsets.is_valid(row) {
                    self.insert(partitions.value(row), offsets.value(row));
                }
            }
        })
        .await?;
        Ok(self)
    }
}

/// Dead letters that stand in their table.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    identities: Identities,
    /// Of lines whose identity could not be read.
    places: HashSet<(String, i64)>,
}

impl Refused {
    /// Adds a dead letter; false when it was there already.
    pub(crate) fn insert(&mut self, letter: &DeadLetter) -> bool {
        match (letter.identity, &letter.place) {
            (Some((partition, offset)), _) => self.identities.insert(partition, offset),
            (None, Some((path, line))) => self.places.insert((path.to_string(), *line)),
            (None, None) => true,
        }
    }

    /// Adds all letters of messages before these positions.
    pub(crate) fn advance(&mut self, positions: &Positions) {
        self.identities.advance(positions);
    }

    /// Those that stand there, and those that the position of the table stands for.
    pub(crate) async fn read(
        session: &Session,
        topic: &str,
        positions: Positions,
    ) -> Result<Self, Error> {
        let mut refused = Self {
            identities: Identities::below(positions),
            places: HashSet::new(),
        };
        let first = refused.identities.first_open();
        let columns = "kafka_partition, kafka_offset, path, line";
        scan(
            session,
            &dead_letters::table_name(),
            topic,
            columns,
            first,
            |batch| {
                let partitions = batch.column(0).as_primitive::<Int32Type>();
                let offsets = batch.column(1).as_primitive::<Int64Type>();
                let paths = batch.column(2).as_string_view();
                let lines = batch.column(3).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    if offsets.is_valid(row) {
                        refused
                            .identities
                            .insert(partitions.value(row), offsets.value(row));
                    } else if paths.is_valid(row) {
                        refused
                            .places
                            .insert((paths.value(row).to_owned(), lines.value(row)));
                    }
                }
            },
        )
        .await?;
        Ok(refused)
    }
}

/// Reads `columns` of the rows of `topic` in `table`: of messages from offset `first` on, and of those without one.
async fn scan(
    session: &Session,
    table: &TableName,
    topic: &str,
    columns: &str,
    first: i64,
    mut each: impl FnMut(&RecordBatch),
) -> Result<(), Error> {
    // Both names are checked ones: a table's has letters, digits and `_` only, the columns are ours.
    let text = format!(
        "SELECT {columns} FROM {table} WHERE kafka_topic = $topic AND (kafka_offset >= $first OR kafka_offset IS NULL)"
    );
    let statement = engine::sql::parse_one(&text, "the landed identities")?;
    let parameters = datafusion::common::ParamValues::from(vec![
        ("topic", topic.into()),
        ("first", first.into()),
    ]);
    let rows = session.query_with(&statement, parameters).await?;
    let mut rows = rows
        .execute_stream()
        .await
        .map_err(engine::Error::execute)?;
    while let Some(batch) = rows.try_next().await.map_err(engine::Error::execute)? {
        each(&batch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Identities;

    #[test]
    fn what_lies_below_the_position_has_landed() {
        let mut identities = Identities::below([(0, 10)].into());
        assert!(!identities.insert(0, 9), "below");
        assert!(identities.insert(1, 9), "no position is known");
        assert!(identities.insert(0, 12), "from another source");
        identities.advance(&[(0, 12), (2, 5)].into());
        assert!(!identities.insert(0, 11) && !identities.insert(2, 4));
        assert!(!identities.insert(0, 12), "still known");
        identities.advance(&[(0, 3)].into());
        assert!(!identities.insert(0, 11), "a position never falls back");
    }

    #[test]
    fn an_identity_is_new_once() {
        let mut identities = Identities::default();
        for (partition, offset, new) in [
            (0, 0, true),
            (0, 0, false),
            (1, 0, true),
            (0, i64::MAX, true),
            (0, i64::MAX, false),
        ] {
            assert_eq!(
                identities.insert(partition, offset),
                new,
                "{partition} {offset}"
            );
        }
    }
}
