//! Rows into tables: collected, sealed, committed.
//!
//! Each step consumes the one before: a [`Buffer`] is sealed, [`Sealed`] rows are committed.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use engine::lake::{
    Change, DataFile, Lake, MARK, Outcome, PartitionKey, Swept, Table, TableName, TableSchema,
    Transaction, encode, split,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tracing::{info, warn};

use crate::error::Error;

/// Files of one table that are encoded and stored at the same time.
const FILES_CONCURRENCY: usize = 4;
/// How often a commit is tried while others, no landings, commit to the same table.
const TRIES: usize = 15;

/// Rows on their way to the tables of one topic.
#[derive(Debug)]
pub(crate) struct Buffer {
    rows: Vec<Vec<RecordBatch>>,
    pub(crate) count: usize,
    pub(crate) bytes: u64,
    pub(crate) since: Option<Instant>,
}

/// Rows that one commit for each table is made of.
#[derive(Debug)]
pub(crate) struct Sealed {
    rows: Vec<Vec<RecordBatch>>,
    count: usize,
}

impl Buffer {
    pub(crate) fn new(tables: usize) -> Self {
        Self {
            rows: vec![Vec::new(); tables],
            count: 0,
            bytes: 0,
            since: None,
        }
    }

    /// Adds rows of the table with this number.
    pub(crate) fn push(&mut self, table: usize, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.count += rows.num_rows();
            self.since.get_or_insert_with(Instant::now);
            self.rows[table].push(rows);
        }
    }

    /// Counts bytes of messages, whose text the rows hold.
    pub(crate) fn weigh(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn seal(&mut self) -> Sealed {
        let tables = self.rows.len();
        let full = std::mem::replace(self, Self::new(tables));
        Sealed {
            rows: full.rows,
            count: full.count,
        }
    }
}

/// The tables of a topic, each with its one committer.
#[derive(Debug)]
pub(crate) struct Tables(Vec<Writer>);

#[derive(Debug)]
struct Writer {
    table: Table,
    partition: Vec<String>,
    /// The mark that this table bore at version `marked`.
    mark: Option<i64>,
    marked: u64,
}

impl Tables {
    /// Opens the tables, creates those that are absent, and removes what killed landings left in them.
    pub(crate) async fn open(
        lake: &Arc<Lake>,
        tables: &[(TableName, TableSchema)],
    ) -> Result<Self, Error> {
        let writers = futures::stream::iter(tables)
            .map(|(name, schema)| async move {
                let mut table = lake.open_or_create(name, schema).await?;
                let swept = table.sweep().await?;
                if swept != Swept::default() {
                    info!(table = %name, files = swept.files, bytes = swept.bytes, "removed what a killed writer left");
                }
                let mark = table.snapshot().transaction(MARK).await?;
                let marked = table.snapshot().version();
                Ok::<_, Error>(Writer {
                    table,
                    partition: schema.partition.clone(),
                    mark,
                    marked,
                })
            })
            .buffered(FILES_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(Self(writers))
    }

    /// The name of the table with this number.
    pub(crate) fn name(&self, table: usize) -> &TableName {
        self.0[table].table.name()
    }

    /// Commits sealed rows, each table in a commit of its own, all tables at the same time; false when
    /// there are none.
    pub(crate) async fn commit(&mut self, sealed: Sealed) -> Result<bool, Error> {
        if sealed.count == 0 {
            return Ok(false);
        }
        let started = Instant::now();
        let commits = self
            .0
            .iter_mut()
            .zip(sealed.rows)
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(writer, rows)| writer.write(rows));
        futures::future::try_join_all(commits).await?;
        info!(rows = sealed.count, elapsed = ?started.elapsed(), "landed");
        Ok(true)
    }
}

impl Writer {
    async fn write(&mut self, rows: Vec<RecordBatch>) -> Result<(), Error> {
        let name = self.table.name().clone();
        let failed = |source: arrow::error::ArrowError| Error::Encode {
            table: name.clone(),
            source: source.into(),
        };
        let parts = split(&rows, &self.partition).map_err(failed)?;
        drop(rows);
        let table = &self.table;
        let files = futures::stream::iter(parts)
            .map(|(key, rows)| store(table, key, rows))
            .buffer_unordered(FILES_CONCURRENCY)
            .try_collect()
            .await?;
        self.commit(files).await
    }

    /// Makes the files part of the table, unless another landing has committed since.
    async fn commit(&mut self, files: Vec<DataFile>) -> Result<(), Error> {
        let mark = Transaction::mark();
        let change = Change {
            add: files,
            transactions: vec![mark.clone()],
            ..Change::default()
        };
        for _ in 0..TRIES {
            self.refuse_other_landing().await?;
            match self.table.commit(&change).await? {
                Outcome::Committed(version) => {
                    (self.mark, self.marked) = (Some(mark.version), version);
                    info!(table = %self.table.name(), version, files = change.add.len(), "committed");
                    return Ok(());
                }
                Outcome::Superseded => {
                    let version = self.table.snapshot().version();
                    warn!(table = %self.table.name(), version, "somebody else committed first");
                }
            }
        }
        Err(Error::Contended {
            table: self.table.name().clone(),
            tries: TRIES,
        })
    }

    /// Fails when another landing has committed since this one looked: it may have landed the same messages.
    ///
    /// Asked before every try and not only after a conflict, because a commit of another one that comes right
    /// after ours is part of the version that our next commit is made on, and conflicts with nothing.
    async fn refuse_other_landing(&mut self) -> Result<(), Error> {
        let snapshot = self.table.snapshot();
        let version = snapshot.version();
        if version == self.marked {
            return Ok(());
        }
        if snapshot.transaction(MARK).await? != self.mark {
            return Err(Error::Superseded {
                table: snapshot.name().clone(),
                version,
            });
        }
        self.marked = version;
        Ok(())
    }
}

async fn store(
    table: &Table,
    key: PartitionKey,
    rows: Vec<RecordBatch>,
) -> Result<DataFile, Error> {
    let schema = table.snapshot().file_schema();
    let encoded = tokio::task::spawn_blocking(move || encode(&schema, &rows))
        .await
        .map_err(Error::Task)?
        .map_err(|source| Error::Encode {
            table: table.name().clone(),
            source: source.into(),
        })?;
    Ok(table.store(&key, encoded).await?)
}
