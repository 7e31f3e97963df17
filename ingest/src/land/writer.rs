//! Rows into tables: collected, sealed, committed.
//!
//! Each step consumes the one before: a [`Buffer`] is sealed, [`Sealed`] rows are committed.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use engine::lake::{
    Change, DataFile, Encoded, Lake, Outcome, PartitionKey, SWEEP, Swept, Table, TableName,
    TableSchema, Transaction, encode, split,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::task::JoinSet;
use tracing::{info, warn};
use uuid::Uuid;

use crate::error::Error;
use crate::source::kafka::Positions;

/// Files of one table that are encoded and stored at the same time.
const FILES_CONCURRENCY: usize = 8;
/// How often a commit is tried while others, no landings, commit to the same table.
const TRIES: usize = 15;

/// Rows on their way to the tables of one topic.
#[derive(Debug)]
pub(crate) struct Buffer {
    rows: Vec<Vec<RecordBatch>>,
    /// How far the source was read for them, if it has positions.
    positions: Positions,
    pub(crate) count: usize,
    pub(crate) bytes: u64,
    pub(crate) since: Option<Instant>,
}

/// Rows that one commit for each table is made of.
#[derive(Debug)]
pub(crate) struct Sealed {
    rows: Vec<Vec<RecordBatch>>,
    positions: Positions,
    count: usize,
}

impl Buffer {
    pub(crate) fn new(tables: usize) -> Self {
        Self {
            rows: vec![Vec::new(); tables],
            positions: Positions::new(),
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

    /// The source has been read up to here, whatever became of its messages.
    pub(crate) fn reach(&mut self, positions: Positions) {
        self.since.get_or_insert_with(Instant::now);
        self.positions.extend(positions);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.positions.is_empty()
    }

    /// Takes everything out, if there is anything.
    pub(crate) fn seal(&mut self) -> Option<Sealed> {
        let tables = self.rows.len();
        let full = std::mem::replace(self, Self::new(tables));
        (!full.is_empty()).then_some(Sealed {
            rows: full.rows,
            positions: full.positions,
            count: full.count,
        })
    }
}

/// Commits in the background, one sealed buffer at a time, so that the next one fills meanwhile.
#[derive(Debug)]
pub(crate) struct Committer {
    /// Here while nothing is being committed.
    tables: Option<Tables>,
    busy: JoinSet<Result<(Tables, Positions), Error>>,
    pub(crate) commits: u64,
    /// How far the source was read for all that is committed.
    pub(crate) committed: Positions,
}

impl Committer {
    pub(crate) fn new(tables: Tables) -> Self {
        Self {
            tables: Some(tables),
            busy: JoinSet::new(),
            commits: 0,
            committed: Positions::new(),
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Begins to commit `sealed` once the commit before is done.
    pub(crate) async fn start(&mut self, sealed: Sealed) -> Result<(), Error> {
        self.finish().await?;
        let mut tables = self.tables.take().expect("nothing is being committed");
        self.busy.spawn(async move {
            let positions = sealed.positions.clone();
            tables.commit(sealed).await?;
            Ok((tables, positions))
        });
        Ok(())
    }

    /// Waits until nothing is being committed. A call that is dropped has changed nothing.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        if let Some(ended) = self.busy.join_next().await {
            let (tables, positions) = ended.map_err(Error::Task)??;
            self.tables = Some(tables);
            self.commits += 1;
            self.committed.extend(positions);
        }
        Ok(())
    }
}

/// The tables of a topic, each with its one writer.
#[derive(Debug)]
pub(crate) struct Tables(Vec<Writer>);

#[derive(Debug)]
struct Writer {
    table: Table,
    partition: Vec<String>,
    names: Arc<Names>,
    topic_id: Option<Uuid>,
    seen: Marks,
}

/// The names under which the log of a table records numbers for one topic.
#[derive(Debug)]
struct Names {
    /// The marks that landings leave.
    mark: String,
    /// Which Kafka topic of that name the positions are of: the halves of its id.
    id: [String; 2],
    /// A position, before the number of the topic partition.
    position: String,
}

impl Names {
    fn of(topic: &str) -> Self {
        Self {
            mark: format!("isobar/landing/{topic}"),
            id: ["high", "low"].map(|half| format!("isobar/kafka/{topic}/id-{half}")),
            position: format!("isobar/kafka/{topic}/"),
        }
    }
}

/// What others have left in the log, as this landing saw it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    version: u64,
    landing: Option<i64>,
    sweep: Option<i64>,
}

/// A stored file, and what it takes to store it again.
#[derive(Debug)]
struct Stored {
    file: DataFile,
    key: PartitionKey,
    encoded: Encoded,
}

impl Tables {
    /// Opens the tables of `topic`, creates those that are absent, and removes what killed landings left in them.
    pub(crate) async fn open(
        lake: &Arc<Lake>,
        topic: &str,
        tables: &[(TableName, TableSchema)],
    ) -> Result<Self, Error> {
        let names = Arc::new(Names::of(topic));
        let names = &names;
        let writers = futures::stream::iter(tables)
            .map(|(name, schema)| async move {
                let mut table = lake.open_or_create(name, schema).await?;
                let swept = table.sweep().await?;
                if swept != Swept::default() {
                    info!(table = %name, files = swept.files, bytes = swept.bytes, "removed what a killed writer left");
                }
                let seen = Marks::of(&table, names).await?;
                Ok::<_, Error>(Writer {
                    table,
                    partition: schema.partition.clone(),
                    names: Arc::clone(names),
                    topic_id: None,
                    seen,
                })
            })
            .buffered(FILES_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(Self(writers))
    }

    /// Where each table goes on in the Kafka topic with this id. A table that took nothing from it yet has no positions.
    ///
    /// # Errors
    /// [`Error::TopicRecreated`] when a table's positions are of another topic with the same name.
    pub(crate) async fn positions(
        &self,
        topic: &str,
        id: Uuid,
        partitions: impl Iterator<Item = i32> + Clone,
    ) -> Result<Vec<Positions>, Error> {
        let mut all = Vec::new();
        for writer in &self.0 {
            let snapshot = writer.table.snapshot();
            let mut recorded = [None; 2];
            for (half, name) in recorded.iter_mut().zip(&writer.names.id) {
                *half = snapshot.transaction(name).await?;
            }
            if recorded != [None; 2] && recorded != halves(id).map(Some) {
                return Err(Error::TopicRecreated {
                    topic: topic.to_owned(),
                });
            }
            let mut positions = Positions::new();
            for partition in partitions.clone() {
                let name = format!("{}{partition}", writer.names.position);
                if let Some(next) = snapshot.transaction(&name).await? {
                    positions.insert(partition, next);
                }
            }
            all.push(positions);
        }
        Ok(all)
    }

    /// From now on, positions are recorded as those of the Kafka topic with this id.
    pub(crate) fn record(&mut self, id: Uuid) {
        for writer in &mut self.0 {
            writer.topic_id = Some(id);
        }
    }

    /// Commits sealed rows, each table in a commit of its own, all tables at the same time.
    async fn commit(&mut self, sealed: Sealed) -> Result<(), Error> {
        let started = Instant::now();
        // A position is recorded also where there are no rows: the table need not be asked about these messages again.
        let commits = self
            .0
            .iter_mut()
            .zip(sealed.rows)
            .filter(|(_, rows)| !rows.is_empty() || !sealed.positions.is_empty())
            .map(|(writer, rows)| writer.write(rows, &sealed.positions));
        futures::future::try_join_all(commits).await?;
        info!(rows = sealed.count, elapsed = ?started.elapsed(), "landed");
        Ok(())
    }
}

impl Marks {
    async fn of(table: &Table, names: &Names) -> Result<Self, Error> {
        let snapshot = table.snapshot();
        Ok(Self {
            version: snapshot.version(),
            landing: snapshot.transaction(&names.mark).await?,
            sweep: snapshot.transaction(SWEEP).await?,
        })
    }
}

impl Writer {
    async fn write(&mut self, rows: Vec<RecordBatch>, positions: &Positions) -> Result<(), Error> {
        let name = self.table.name().clone();
        let failed = |source: arrow::error::ArrowError| Error::Encode {
            table: name.clone(),
            source: source.into(),
        };
        let parts = split(&rows, &self.partition).map_err(failed)?;
        drop(rows);
        let table = &self.table;
        let stored = futures::stream::iter(parts)
            .map(|(key, rows)| async move {
                let encoded = encoded(table, rows).await?;
                store(table, key, encoded).await
            })
            .buffer_unordered(FILES_CONCURRENCY)
            .try_collect()
            .await?;
        self.commit(stored, positions).await
    }

    /// What is recorded beside the rows of one commit.
    fn transactions(&self, positions: &Positions) -> Vec<Transaction> {
        let mut transactions = vec![Transaction::unique(&self.names.mark)];
        let mut record = |application: &str, version| {
            transactions.push(Transaction {
                application: application.to_owned(),
                version,
            });
        };
        for (partition, next) in positions {
            record(&format!("{}{partition}", self.names.position), *next);
        }
        if let Some(id) = self.topic_id.filter(|_| !positions.is_empty()) {
            for (name, half) in self.names.id.iter().zip(halves(id)) {
                record(name, half);
            }
        }
        transactions
    }

    /// Makes the files part of the table, unless another landing has committed since.
    async fn commit(
        &mut self,
        mut stored: Vec<Stored>,
        positions: &Positions,
    ) -> Result<(), Error> {
        let transactions = self.transactions(positions);
        let mark = transactions[0].version;
        for _ in 0..TRIES {
            if self.swept_since().await? {
                stored = self.store_again(stored).await?;
            }
            let change = Change {
                add: stored.iter().map(|stored| stored.file.clone()).collect(),
                transactions: transactions.clone(),
                ..Change::default()
            };
            match self.table.commit(&change).await? {
                Outcome::Committed(version) => {
                    (self.seen.landing, self.seen.version) = (Some(mark), version);
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

    /// Whether files that we stored and have not committed may be gone.
    ///
    /// Asked before every try and not only after a conflict, because a commit of another one that comes right
    /// after ours is part of the version that our next commit is made on, and conflicts with nothing.
    ///
    /// # Errors
    /// When another landing of the topic has committed since this one looked: it may have landed the same messages.
    async fn swept_since(&mut self) -> Result<bool, Error> {
        if self.table.snapshot().version() == self.seen.version {
            return Ok(false);
        }
        let found = Marks::of(&self.table, &self.names).await?;
        if found.landing != self.seen.landing {
            return Err(Error::Superseded {
                table: self.table.name().clone(),
                version: found.version,
            });
        }
        let swept = found.sweep != self.seen.sweep;
        self.seen = found;
        Ok(swept)
    }

    /// Stores the same rows under new names.
    async fn store_again(&self, stored: Vec<Stored>) -> Result<Vec<Stored>, Error> {
        warn!(table = %self.table.name(), files = stored.len(), "somebody swept the table; storing again what is not committed yet");
        futures::stream::iter(stored)
            .map(|stored| store(&self.table, stored.key, stored.encoded))
            .buffer_unordered(FILES_CONCURRENCY)
            .try_collect()
            .await
    }
}

/// An id as the two numbers that a log can record.
fn halves(id: Uuid) -> [i64; 2] {
    let (high, low) = id.as_u64_pair();
    [high, low].map(|half| i64::from_ne_bytes(half.to_ne_bytes()))
}

async fn encoded(table: &Table, rows: Vec<RecordBatch>) -> Result<Encoded, Error> {
    let schema = table.snapshot().file_schema();
    tokio::task::spawn_blocking(move || encode(&schema, &rows))
        .await
        .map_err(Error::Task)?
        .map_err(|source| Error::Encode {
            table: table.name().clone(),
            source: source.into(),
        })
}

async fn store(table: &Table, key: PartitionKey, encoded: Encoded) -> Result<Stored, Error> {
    let file = table.store(&key, encoded.clone()).await?;
    Ok(Stored { file, key, encoded })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::RecordBatch;
    use engine::lake::{Lake, PartitionKey, StoreOptions, Stores, Swept};
    use tempfile::TempDir;
    use url::Url;

    use super::super::dead_letters;
    use super::{Stored, Tables, encoded, store};
    use crate::error::Error;
    use crate::source::kafka::Positions;

    fn lake(directory: &TempDir) -> Arc<Lake> {
        let stores = Stores::new(StoreOptions {
            user: "test".to_owned(),
            limit: Duration::from_secs(30),
        });
        let url = Url::from_directory_path(directory.path()).expect("a URL");
        Lake::new(&url, stores).expect("a lake")
    }

    async fn open(lake: &Arc<Lake>, topic: &str) -> Tables {
        let schemas = [(dead_letters::table_name(), dead_letters::schema())];
        Tables::open(lake, topic, &schemas).await.expect("opened")
    }

    /// A file of one row that no commit names yet.
    async fn stored(tables: &Tables) -> Stored {
        let rows = RecordBatch::new_empty(dead_letters::schema().columns);
        let table = &tables.0[0].table;
        let encoded = encoded(table, vec![rows]).await.expect("encoded");
        store(table, PartitionKey::of(None, None), encoded)
            .await
            .expect("stored")
    }

    #[tokio::test]
    async fn what_the_landing_of_another_topic_swept_is_stored_again() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let mut one = open(&lake, "one").await;
        let file = stored(&one).await;
        let path = directory.path().join("dead_letters").join(file.file.path());
        assert!(path.exists());
        let mut other = open(&lake, "other").await;
        assert!(!path.exists(), "it was swept");
        let others = stored(&other).await;
        other.0[0]
            .commit(vec![others], &Positions::new())
            .await
            .expect("committed");
        one.0[0]
            .commit(vec![file], &Positions::new())
            .await
            .expect("committed");
        assert_eq!(one.0[0].table.snapshot().size().0, 2);
        // Nothing is left to sweep: each file there is one that the table names.
        let swept = one.0[0].table.sweep().await.expect("swept");
        assert_eq!(swept, Swept::default());
        let there = std::fs::read_dir(path.parent().expect("a directory")).expect("listed");
        let data_file = |name: &str| name.ends_with(".parquet");
        let names = there.map(|entry| entry.expect("an entry").file_name());
        assert_eq!(
            names
                .filter(|name| name.to_str().is_some_and(data_file))
                .count(),
            2
        );
    }

    #[tokio::test]
    async fn the_second_of_two_landings_of_one_topic_stops() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let (mut one, mut other) = (open(&lake, "one").await, open(&lake, "one").await);
        let (mine, theirs) = (stored(&one).await, stored(&other).await);
        one.0[0]
            .commit(vec![mine], &Positions::new())
            .await
            .expect("committed");
        let refused = other.0[0].commit(vec![theirs], &Positions::new()).await;
        assert!(
            matches!(refused, Err(Error::Superseded { .. })),
            "{refused:?}"
        );
    }
}
