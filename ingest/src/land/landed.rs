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

/// Identities of one topic's messages.
#[derive(Debug, Default)]
pub(crate) struct Identities(HashMap<i32, RoaringTreemap>);

impl Identities {
    /// Adds an identity; false when it was there already.
    pub(crate) fn insert(&mut self, partition: i32, offset: i64) -> bool {
        self.0
            .entry(partition)
            .or_default()
            .insert(u64::try_from(offset).unwrap_or_default())
    }

    /// Those that `table` has rows of.
    pub(crate) async fn of(
        session: &Session,
        table: &TableName,
        topic: &str,
    ) -> Result<Self, Error> {
        let mut identities = Self::default();
        let columns = "kafka_partition, kafka_offset";
        scan(session, table, topic, columns, |batch| {
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let offsets = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                if partitions.is_valid(row) && offsets.is_valid(row) {
                    identities.insert(partitions.value(row), offsets.value(row));
                }
            }
        })
        .await?;
        Ok(identities)
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

    pub(crate) async fn of(session: &Session, topic: &str) -> Result<Self, Error> {
        let mut refused = Self::default();
        let columns = "kafka_partition, kafka_offset, path, line";
        scan(
            session,
            &dead_letters::table_name(),
            topic,
            columns,
            |batch| {
                let partitions = batch.column(0).as_primitive::<Int32Type>();
                let offsets = batch.column(1).as_primitive::<Int64Type>();
                let paths = batch.column(2).as_string::<i32>();
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

/// Reads `columns` of the rows of `topic` in `table`.
async fn scan(
    session: &Session,
    table: &TableName,
    topic: &str,
    columns: &str,
    mut each: impl FnMut(&RecordBatch),
) -> Result<(), Error> {
    // Both names are checked ones: a table's has letters, digits and `_` only, the columns are ours.
    let text = format!("SELECT {columns} FROM {table} WHERE kafka_topic = $topic");
    let statement = engine::sql::parse_one(&text, "the landed identities")?;
    let parameters = datafusion::common::ParamValues::from(vec![("topic", topic.into())]);
    let rows = session.query_with(&statement, parameters).await?;
    let mut rows = rows
        .execute_stream()
        .await
        .map_err(engine::Error::Execute)?;
    while let Some(batch) = rows.try_next().await.map_err(engine::Error::Execute)? {
        each(&batch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Identities;

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
