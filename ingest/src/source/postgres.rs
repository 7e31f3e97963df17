//! Reads table `weather` in PostgreSQL: the rows of a topic, and the dead letters of `consume`.
//!
//! `consume` writes rows, dead letters and its position in one transaction. Below that position a
//! topic partition is therefore complete, and one number is enough to resume. Above it there may be
//! rows of the legacy pipeline, with gaps that `consume` may still fill. The reader reads these
//! rows too, and finds what fills the gaps once the position has passed them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connections::Error;
use connections::postgres::{Database, POSTGRES_ONLY_REASONS, PostgresOptions, migrate};
use connections::records::{Offsets, Positions, Records, RecordsBuilder};
use futures::{TryStreamExt as _, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream, Statement};
use tracing::info;
use uuid::Uuid;

use super::{Block, Blocks};

/// Name of the source in dead letters.
const SOURCE: &str = "postgres";

/// How often the reader asks the database for new rows.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Rows of one statement, so that no statement lasts as long as a landing.
const PAGE: i64 = 1000;

/// Identifies the tables: the time when the migration added positions, in microseconds. A dump
/// keeps it, and another database has another one.
const ID: &str = "
SELECT (extract(epoch FROM applied_at) * 1000000)::BIGINT FROM isobar.schema_version WHERE version = 2";

const TOPIC_ID: &str = "SELECT topic_id FROM isobar.topics WHERE topic = $1";

/// Extents of all topic partitions with rows or a position. The recursion looks up one partition
/// after the other in the key, since DISTINCT would read all rows.
const EXTENTS: &str = "
WITH RECURSIVE numbers AS (
    SELECT min(partition) AS partition FROM weather WHERE topic = $1
    UNION ALL
    SELECT (SELECT min(weather.partition) FROM weather WHERE topic = $1 AND weather.partition > numbers.partition)
    FROM numbers WHERE numbers.partition IS NOT NULL
),
consumed AS (
    SELECT partition, next_offset FROM isobar.positions WHERE topic = $1
)
SELECT
    partition,
    coalesce(next_offset, 0),
    coalesce((SELECT max(msg_offset) FROM weather WHERE topic = $1 AND weather.partition = known.partition), -1)
FROM (SELECT partition, next_offset FROM numbers FULL JOIN consumed USING (partition)) AS known
WHERE partition IS NOT NULL";

/// Rows of a topic partition, for [`append_row`]. An infinite time becomes NULL, like the time of a
/// record without one.
macro_rules! messages_where {
    ($which:literal) => {
        concat!(
            "
SELECT
    msg_offset,
    CASE WHEN isfinite(event_time) THEN floor(extract(epoch FROM event_time) * 1000)::BIGINT END,
    value::TEXT
FROM weather
WHERE topic = $1 AND partition = $2 AND ",
            $which
        )
    };
}

const ROWS: &str = messages_where!("msg_offset BETWEEN $3 AND $4 ORDER BY msg_offset LIMIT $5");

const REREAD: &str = messages_where!("msg_offset = ANY($3)");

const DEAD_LETTERS: &str = "
SELECT msg_offset, reason, detail, value FROM isobar.dead_letters
WHERE topic = $1 AND partition = $2 AND msg_offset BETWEEN $3 AND $4 AND reason <> ALL($5)
ORDER BY msg_offset";

/// What PostgreSQL has of a topic partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Position of `consume`: everything before it is in the tables.
    pub(crate) complete: i64,
    /// Offset of the last row, up to `i64::MAX`; -1 without rows.
    pub(crate) last: i64,
}

/// By topic partition.
pub(crate) type Extents = BTreeMap<i32, Extent>;

/// The extents that were read last. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct SharedExtents(Arc<Mutex<Extents>>);

impl SharedExtents {
    pub(crate) fn get(&self) -> Extents {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, extents: &Extents) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone_from(extents);
    }
}

/// The rows of one topic.
#[derive(Debug)]
pub(crate) struct Table {
    database: Database,
    topic: String,
    id: i64,
    topic_id: Option<Uuid>,
    rows: Statement,
    dead_letters: Statement,
}

impl Table {
    /// Migrates the tables to the newest version, and opens them. Rows of the legacy pipeline
    /// become rows of topic `legacy`.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn open_migrated(
        options: &PostgresOptions,
        topic: &str,
        legacy: &str,
    ) -> Result<Self, Error> {
        let mut database = Database::connect(options, "isobar land").await?;
        migrate(&mut database, legacy).await?;
        Self::of(database, topic).await
    }

    /// Opens the tables as they are.
    ///
    /// # Errors
    /// When the server refuses, or they are of an older version.
    pub(crate) async fn open(options: &PostgresOptions, topic: &str) -> Result<Self, Error> {
        let database = Database::connect(options, "isobar dead-letters").await?;
        Self::of(database, topic).await
    }

    async fn of(database: Database, topic: &str) -> Result<Self, Error> {
        let options = database.options();
        let client = &database.client;
        let opening = async {
            let id = client.query_one(ID, &[]).await?;
            let topic_id = client.query_opt(TOPIC_ID, &[&topic]).await?;
            let (rows, dead_letters) = (client.prepare(ROWS), client.prepare(DEAD_LETTERS));
            let (rows, dead_letters) = (rows.await?, dead_letters.await?);
            Ok((
                id.get(0),
                topic_id.map(|row| row.get(0)),
                rows,
                dead_letters,
            ))
        };
        let opened = Database::with_timeout(options, "inspect the tables", opening).await?;
        let (id, topic_id, rows, dead_letters): (i64, Option<Uuid>, _, _) = opened;
        Ok(Self {
            topic: topic.to_owned(),
            id,
            // Nil comes from brokers without topic ids.
            topic_id: topic_id.filter(|id| !id.is_nil()),
            rows,
            dead_letters,
            database,
        })
    }

    /// Identifies the tables of this database.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// Id of the topic that `consume` reads, if it is known.
    pub(crate) fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    pub(crate) async fn shared_extents(&self) -> Result<SharedExtents, Error> {
        Ok(SharedExtents(Arc::new(Mutex::new(self.extents().await?))))
    }

    /// Reads the rows at `offsets` that still exist.
    pub(crate) async fn reread(&self, offsets: &Offsets) -> Result<Records, Error> {
        let client = &self.database.client;
        let mut found = RecordsBuilder::new(SOURCE);
        for (partition, offsets) in offsets {
            let offsets: Vec<i64> = offsets.iter().copied().collect();
            let asked = async {
                client
                    .query(REREAD, &[&self.topic, partition, &offsets])
                    .await
            };
            for row in Database::with_timeout(self.database.options(), READ, asked).await? {
                append_row(*partition, &row, &mut found);
            }
        }
        Ok(found.seal())
    }

    async fn extents(&self) -> Result<Extents, Error> {
        let client = &self.database.client;
        let asked = async { client.query(EXTENTS, &[&self.topic]).await };
        let rows =
            Database::with_timeout(self.database.options(), "ask for the positions", asked).await?;
        let extent = |row: &Row| {
            let (complete, last) = (row.get(1), row.get(2));
            (row.get(0), Extent { complete, last })
        };
        Ok(rows.iter().map(extent).collect())
    }

    /// Runs a statement for rows or dead letters of a topic partition. `last` is its fifth
    /// parameter.
    async fn query(
        &self,
        statement: &Statement,
        partition: i32,
        offsets: &RangeInclusive<i64>,
        last: &(dyn ToSql + Sync),
    ) -> Result<RowStream, Error> {
        let (from, to) = (offsets.start(), offsets.end());
        let parameters: [&(dyn ToSql + Sync); 5] = [&self.topic, &partition, from, to, last];
        let asked = self.database.client.query_raw(statement, parameters);
        Database::with_timeout(self.database.options(), READ, asked).await
    }
}

const READ: &str = "read messages";

/// How reading came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// Everything that was there has been read.
    Read,
    /// The topic has partitions that were not there when reading began.
    PartitionsAdded,
}

/// Reads a table, and sends it in blocks.
pub(crate) struct TableReader {
    table: Table,
    seen: SharedExtents,
    /// Next offset of each topic partition.
    from: Positions,
    /// Offsets of the last rows of the legacy pipeline that were read.
    legacy: BTreeMap<i32, i64>,
    builder: RecordsBuilder,
    blocks: Blocks,
}

impl TableReader {
    pub(crate) fn new(table: Table, seen: SharedExtents, from: Positions, blocks: Blocks) -> Self {
        Self {
            table,
            seen,
            from,
            legacy: BTreeMap::new(),
            builder: RecordsBuilder::new(SOURCE),
            blocks,
        }
    }

    /// Number of offsets between the start of reading and the end of the table.
    pub(crate) fn pending(&self) -> u64 {
        let pending = self.seen.get().into_iter().map(|(partition, extent)| {
            let from = self.from.get(&partition).copied().unwrap_or_default();
            let end = extent.complete.max(extent.last.saturating_add(1));
            u64::try_from(end - from).unwrap_or_default()
        });
        pending.sum()
    }

    /// Reads everything that is there, and then, unless `once`, new rows as they come.
    ///
    /// # Errors
    /// When the server refuses, or does not answer.
    pub(crate) async fn read(mut self, once: bool) -> Result<ReadOutcome, Error> {
        let mut extents = self.seen.get();
        loop {
            self.read_new(&extents).await?;
            if once {
                return Ok(ReadOutcome::Read);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            let found = self.table.extents().await?;
            let new: Vec<_> = found.keys().filter(|n| !extents.contains_key(n)).collect();
            if !new.is_empty() {
                info!(
                    topic = self.table.topic,
                    ?new,
                    "the topic has new partitions"
                );
                return Ok(ReadOutcome::PartitionsAdded);
            }
            self.seen.set(&found);
            extents = found;
        }
    }

    /// Reads the part of `extents` that was not read before.
    async fn read_new(&mut self, extents: &Extents) -> Result<(), Error> {
        for (&partition, extent) in extents {
            let from = self.from.get(&partition).copied().unwrap_or_default();
            if from < extent.complete {
                let offsets = from..=extent.complete - 1;
                // Before the rows, because each row moves the position past them.
                self.dead_letters(partition, offsets.clone()).await?;
                self.rows(partition, offsets, extent.complete).await?;
                self.builder.set_position(partition, extent.complete);
                self.from.insert(partition, extent.complete);
            }
            let legacy = self.legacy.get(&partition).copied().unwrap_or(-1);
            let legacy = legacy.max(extent.complete - 1);
            if legacy < extent.last {
                self.rows(partition, legacy + 1..=extent.last, extent.complete)
                    .await?;
                self.legacy.insert(partition, extent.last);
            }
        }
        if !self.builder.is_empty() {
            self.send().await;
        }
        Ok(())
    }

    /// Reads rows. Those before `complete` move the position on.
    async fn rows(
        &mut self,
        partition: i32,
        mut offsets: RangeInclusive<i64>,
        complete: i64,
    ) -> Result<(), Error> {
        loop {
            let table = &self.table;
            let page = table.query(&table.rows, partition, &offsets, &PAGE).await?;
            pin_mut!(page);
            let (mut count, mut last) = (0, *offsets.end());
            while let Some(row) = next_row(&self.table, &mut page).await? {
                last = append_row(partition, &row, &mut self.builder);
                if last < complete {
                    self.builder.set_position(partition, last + 1);
                }
                count += 1;
                self.send_if_full().await;
            }
            if count < PAGE || last == *offsets.end() {
                return Ok(());
            }
            offsets = last + 1..=*offsets.end();
        }
    }

    /// Reads dead letters of `consume`, except those that only PostgreSQL refuses: a landing from
    /// another source would accept them.
    async fn dead_letters(
        &mut self,
        partition: i32,
        offsets: RangeInclusive<i64>,
    ) -> Result<(), Error> {
        let (table, not_held) = (&self.table, POSTGRES_ONLY_REASONS.as_slice());
        let dead_letters = table
            .query(&table.dead_letters, partition, &offsets, &not_held)
            .await?;
        pin_mut!(dead_letters);
        while let Some(row) = next_row(&self.table, &mut dead_letters).await? {
            let identity = (partition, row.get(0));
            self.builder
                .push_refused(identity, row.get(1), row.get(2), row.get(3));
            self.send_if_full().await;
        }
        Ok(())
    }

    async fn send_if_full(&mut self) {
        if self.builder.is_full() {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        let block = Block::Records(self.builder.seal());
        // Fails only after an error of the landing, which then cancels this task.
        let _ = self.blocks.send(block).await;
    }
}

/// Adds the message of a row, and returns its offset.
fn append_row(partition: i32, row: &Row, into: &mut RecordsBuilder) -> i64 {
    let (offset, value): (i64, &str) = (row.get(0), row.get(2));
    into.push(
        (partition, offset),
        row.get(1),
        None,
        Some(value.as_bytes()),
    );
    offset
}

/// The next row. The time limit covers the server, not the caller between two rows.
async fn next_row(table: &Table, rows: &mut Pin<&mut RowStream>) -> Result<Option<Row>, Error> {
    Database::with_timeout(table.database.options(), READ, rows.try_next()).await
}
