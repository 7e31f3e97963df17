//! Deduplication: which messages of a topic its tables already hold.
//!
//! A message is identified by topic, topic partition and offset, the same from every source. Each
//! table answers for itself, from its own rows: after a crash between the commits of two tables,
//! one has a message and the other has not.
//!
//! Three sets decide, all read when a landing opens:
//!
//! - `tables`, one for each table: offsets below the table's position, and offsets of its rows. A
//!   message in it adds no rows to the table.
//! - `dead_letters`: offsets below the lowest position, and offsets or lines of its rows. A message
//!   in it is not refused twice.
//! - `committed_at_start`: offsets, at or above the lowest position, that had rows in any table
//!   when the landing opened. A message in it is not refused at all.
//!
//! Positions keep the sets small: no set keeps single offsets below its position, and every applied
//! block of an ordered source advances the positions of all sets.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use connections::records::Positions;
use engine::session::Session;
use futures::TryStreamExt as _;
use lake::TableName;
use roaring::RoaringTreemap;

use crate::dead_letters::{self, NewDeadLetter};
use crate::declaration::{IDENTITY, TopicDeclaration};
use crate::error::Error;
use crate::land::Destination;

/// What the tables of a topic hold, and what this landing has added.
pub(crate) struct DedupState {
    /// By table, in the topic's order: messages whose rows are committed or buffered.
    pub(crate) tables: Vec<OffsetSet>,
    /// Dead letters that are committed or buffered.
    pub(crate) dead_letters: DeadLetterSet,
    /// Messages that had rows in any table when the landing opened. They are never refused:
    /// otherwise a landing started with an older declaration would write again the dead letters
    /// that a replay has turned into rows.
    pub(crate) committed_at_start: OffsetSet,
}

impl DedupState {
    /// Reads the state, of messages from `resume_from` on. `positions` are those that each table
    /// has recorded itself.
    pub(crate) async fn read(
        into: &Destination,
        topic: &TopicDeclaration,
        partitions: &[i32],
        resume_from: &Positions,
        mut positions: Vec<Positions>,
    ) -> Result<Self, Error> {
        let mut from = resume_from.clone();
        for positions in positions.iter_mut().chain([&mut from]) {
            // A partition without a position may have rows from another source: read them all.
            for number in partitions {
                positions.entry(*number).or_default();
            }
        }
        // They start at `from` and not at the position of `dead_letters`: a newly declared table
        // may refuse messages that the other tables have accepted. Dead letters are read before
        // rows: a concurrent replay turns dead letters into rows, and in this order each message is
        // seen as one or the other.
        let dead_letters =
            DeadLetterSet::read_committed(&into.session, &topic.name, from.clone()).await?;
        let (mut tables, mut committed_at_start) = (Vec::new(), OffsetSet::default());
        for (table, positions) in topic.tables.iter().zip(positions) {
            let mut committed = OffsetSet::below(from.clone())
                .read_committed(&into.session, &table.name, &topic.name)
                .await?;
            committed_at_start.extend(&committed);
            committed.advance(&positions);
            tables.push(committed);
        }
        Ok(Self {
            tables,
            dead_letters,
            committed_at_start,
        })
    }

    /// Notes that all messages before these positions are applied.
    pub(crate) fn advance(&mut self, positions: &Positions) {
        for table in &mut self.tables {
            table.advance(positions);
        }
        self.dead_letters.offsets.advance(positions);
    }

    /// Adds a dead letter; false when its message has rows, or is a dead letter already.
    pub(crate) fn insert_dead_letter(&mut self, dead_letter: &NewDeadLetter) -> bool {
        let has_rows = |identity| self.committed_at_start.contains_single(identity);
        !dead_letter.identity.is_some_and(has_rows) && self.dead_letters.insert(dead_letter)
    }
}

/// Which of `rows` belong to messages that are new to their table. `decided` holds the answers for
/// messages of the same block: a message may be many rows, and its first row decides for all.
pub(crate) fn dedup_mask(
    rows: &RecordBatch,
    table: &mut OffsetSet,
    decided: &mut HashMap<(i32, i64), bool>,
) -> BooleanArray {
    let column = |name| {
        rows.column_by_name(name)
            .expect("every landed table has this column")
    };
    let partitions = column(IDENTITY[1]).as_primitive::<Int32Type>();
    let offsets = column(IDENTITY[2]).as_primitive::<Int64Type>();
    let new = partitions
        .values()
        .iter()
        .zip(offsets.values())
        .map(|(partition, offset)| {
            let new = decided
                .entry((*partition, *offset))
                .or_insert_with(|| table.insert(*partition, *offset));
            Some(*new)
        });
    new.collect()
}

/// Offsets of one topic, by topic partition: all below a position, and single ones above it.
#[derive(Debug, Default)]
pub(crate) struct OffsetSet {
    /// Every offset before this one is in the set.
    below: Positions,
    /// Offsets at or above `below` that are in the set.
    singles: HashMap<i32, RoaringTreemap>,
}

impl OffsetSet {
    /// All offsets before these positions.
    pub(crate) fn below(positions: Positions) -> Self {
        Self {
            below: positions,
            singles: HashMap::new(),
        }
    }

    /// Adds an offset; false when it was in the set already.
    pub(crate) fn insert(&mut self, partition: i32, offset: i64) -> bool {
        let below = self.below.get(&partition);
        if below.is_some_and(|below| offset < *below) {
            return false;
        }
        let singles = self.singles.entry(partition).or_default();
        singles.insert(u64::try_from(offset).unwrap_or_default())
    }

    /// Adds the single offsets of `other`, and not those below its positions.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (partition, offsets) in &other.singles {
            *self.singles.entry(*partition).or_default() |= offsets;
        }
    }

    /// Whether this offset was added as a single one. An offset below a position is not found.
    pub(crate) fn contains_single(&self, (partition, offset): (i32, i64)) -> bool {
        let singles = self.singles.get(&partition);
        let offset = u64::try_from(offset).unwrap_or_default();
        singles.is_some_and(|singles| singles.contains(offset))
    }

    /// Adds all offsets before these positions, and forgets the single ones among them. A position
    /// never falls back.
    pub(crate) fn advance(&mut self, positions: &Positions) {
        for (partition, next) in positions {
            let below = self.below.entry(*partition).or_insert(*next);
            *below = (*below).max(*next);
            if let Some(singles) = self.singles.get_mut(partition) {
                singles.remove_range(..u64::try_from(*below).unwrap_or_default());
            }
        }
    }

    /// The lowest offset that may be missing, over all topic partitions.
    fn first_missing(&self) -> i64 {
        self.below.values().copied().min().unwrap_or_default()
    }

    /// Adds the offsets of the rows that `table` has.
    pub(crate) async fn read_committed(
        mut self,
        session: &Session,
        table: &TableName,
        topic: &str,
    ) -> Result<Self, Error> {
        let columns = "kafka_partition, kafka_offset";
        let first = self.first_missing();
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

/// Dead letters of one topic.
#[derive(Debug, Default)]
pub(crate) struct DeadLetterSet {
    offsets: OffsetSet,
    /// File and line of those whose offset could not be read.
    lines: HashSet<(String, i64)>,
}

impl DeadLetterSet {
    /// Adds a dead letter; false when it was in the set already.
    fn insert(&mut self, dead_letter: &NewDeadLetter) -> bool {
        match (dead_letter.identity, &dead_letter.place) {
            (Some((partition, offset)), _) => self.offsets.insert(partition, offset),
            (None, Some((path, line))) => self.lines.insert((path.to_string(), *line)),
            (None, None) => true,
        }
    }

    /// All offsets before `positions`, and the dead letters that the table has.
    async fn read_committed(
        session: &Session,
        topic: &str,
        positions: Positions,
    ) -> Result<Self, Error> {
        let mut set = Self {
            offsets: OffsetSet::below(positions),
            lines: HashSet::new(),
        };
        let first = set.offsets.first_missing();
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
                        set.offsets
                            .insert(partitions.value(row), offsets.value(row));
                    } else if paths.is_valid(row) {
                        set.lines
                            .insert((paths.value(row).to_owned(), lines.value(row)));
                    }
                }
            },
        )
        .await?;
        Ok(set)
    }
}

/// Reads `columns` of the rows of `topic` in `table`: of messages from offset `first` on, and of
/// messages without an offset.
async fn scan(
    session: &Session,
    table: &TableName,
    topic: &str,
    columns: &str,
    first: i64,
    mut each: impl FnMut(&RecordBatch),
) -> Result<(), Error> {
    // Both names are safe to format into SQL: a `TableName` has letters, digits and `_` only, and
    // the columns are constants.
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
    use super::OffsetSet;

    #[test]
    fn offset_set_contains_every_offset_below_the_position() {
        let mut offsets = OffsetSet::below([(0, 10)].into());
        assert!(!offsets.insert(0, 9), "below");
        assert!(offsets.insert(1, 9), "no position is known");
        assert!(offsets.insert(0, 12), "from another source");
        offsets.advance(&[(0, 12), (2, 5)].into());
        assert!(!offsets.insert(0, 11) && !offsets.insert(2, 4));
        assert!(!offsets.insert(0, 12), "still known");
        offsets.advance(&[(0, 3)].into());
        assert!(!offsets.insert(0, 11), "a position never falls back");
    }

    #[test]
    fn offset_set_insert_is_true_once() {
        let mut offsets = OffsetSet::default();
        for (partition, offset, new) in [
            (0, 0, true),
            (0, 0, false),
            (1, 0, true),
            (0, i64::MAX, true),
            (0, i64::MAX, false),
        ] {
            assert_eq!(
                offsets.insert(partition, offset),
                new,
                "{partition} {offset}"
            );
        }
    }
}
