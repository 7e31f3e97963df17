//! The tables of a topic, and the commits that make staged files part of them.

use std::sync::Arc;
use std::time::Instant;

use engine::lake::{
    Change, Lake, Outcome, PositionNames, SWEEP, Snapshot, Swept, Table, TableName, TableSchema,
    TopicNames, Transaction,
};
use engine::metrics::Counter;
use futures::{StreamExt as _, TryStreamExt as _};
use tracing::{info, warn};
use uuid::Uuid;

use super::buffer::Sealed;
use super::dead_letters;
use super::memory_budget::MemoryBudget;
use super::metrics::Counters;
use super::reached::Reached;
use super::stage::{Stage, StagedFile, StagedTable};
use crate::error::Error;

/// Tables that are opened at the same time.
const OPEN_CONCURRENCY: usize = 8;
/// How often a commit is tried while others, no landings, commit to the same table. After a sweep files are stored again,
/// which gives the next sweep as much time.
const TRIES: usize = 50;

/// The tables of a topic, each with its one writer.
#[derive(Debug)]
pub(crate) struct Tables {
    topic: String,
    writers: Vec<Writer>,
    budget: MemoryBudget,
}

#[derive(Debug)]
struct Writer {
    table: Table,
    /// The same table, as the flush batches stage files of it.
    staged: StagedTable,
    names: Arc<TopicNames>,
    /// Of a source that has positions.
    recording: Option<Recording>,
    seen: Marks,
    /// How far the table has its topic from that source. It may be ahead of the other tables, and what is read for those
    /// again does not set it back.
    reached: Reached,
    retries: Counter,
}

/// How a source records its positions.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    positions: PositionNames,
    /// The Kafka topic that they are of, if it is known.
    topic_id: Option<Uuid>,
}

impl Recording {
    pub(crate) fn kafka(topic: &str, id: Uuid) -> Self {
        Self {
            positions: PositionNames::kafka(topic),
            topic_id: Some(id),
        }
    }

    /// `tables` tells the tables of one database from those of another, of which positions say nothing.
    pub(crate) fn postgres(topic: &str, tables: i64, topic_id: Option<Uuid>) -> Self {
        Self {
            positions: PositionNames::postgres(topic, tables),
            topic_id,
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

impl Tables {
    /// Opens the tables of `topic`, creates those that are absent, and removes what killed landings left in them.
    pub(crate) async fn open(
        lake: &Arc<Lake>,
        topic: &str,
        tables: &[(TableName, TableSchema)],
        budget: &MemoryBudget,
        counters: &Counters,
    ) -> Result<Self, Error> {
        let names = Arc::new(TopicNames::of(topic));
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
                    staged: StagedTable::new(&table, schema.partition.clone()),
                    table,
                    names: Arc::clone(names),
                    recording: None,
                    seen,
                    reached: Reached::default(),
                    retries: counters.retries(topic, name),
                })
            })
            .buffered(OPEN_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(Self {
            topic: topic.to_owned(),
            writers,
            budget: budget.clone(),
        })
    }

    /// From now on positions are recorded so. Yields where each table goes on; one that took nothing yet has no positions.
    ///
    /// # Errors
    /// [`Error::TopicRecreated`] when a table has messages of another Kafka topic with the same name.
    pub(crate) async fn record(
        &mut self,
        recording: Recording,
        partitions: &[i32],
    ) -> Result<Vec<Reached>, Error> {
        let mut all = Vec::new();
        for writer in &mut self.writers {
            let snapshot = writer.table.snapshot();
            let recorded = recorded_id(snapshot, &self.topic).await?;
            let id = recording.topic_id.map(halves);
            if recorded
                .zip(id)
                .is_some_and(|(recorded, id)| recorded != id)
            {
                return Err(Error::TopicRecreated {
                    topic: self.topic.clone(),
                });
            }
            let mut reached = Reached::default();
            for partition in partitions {
                let name = recording.positions.position(*partition);
                if let Some(next) = snapshot.transaction(&name).await? {
                    reached.positions.insert(*partition, next);
                }
                let name = recording.positions.newest_event(*partition);
                if let Some(newest_us) = snapshot.transaction(&name).await? {
                    reached.newest_us.insert(*partition, newest_us);
                }
            }
            all.push(reached.clone());
            writer.reached = reached;
            writer.recording = Some(recording.clone());
        }
        Ok(all)
    }

    /// Where rows for these tables are staged.
    pub(crate) fn stage(&self) -> Stage {
        let targets = self.writers.iter().map(|writer| writer.staged.clone());
        Stage::new(targets.collect(), &self.budget)
    }

    /// Commits what is sealed, each table in a commit of its own, all tables at the same time.
    pub(crate) async fn commit(&mut self, mut sealed: Sealed) -> Result<(), Error> {
        let started = Instant::now();
        let files = sealed.files(self.writers.len()).await?;
        let (reached, permits) = (&sealed.reached, &self.budget.dead_letters_commit);
        let shared = dead_letters::table_name();
        let shared = &shared;
        // A position is recorded also where there are no rows: the table need not be asked about these messages again.
        let commits = self
            .writers
            .iter_mut()
            .zip(files)
            .filter(|(_, files)| !files.is_empty() || !reached.is_empty())
            .map(|(writer, files)| async move {
                let _permit = match writer.table.name() == shared {
                    true => Some(
                        permits
                            .acquire()
                            .await
                            .expect("the semaphore is never closed"),
                    ),
                    false => None,
                };
                writer.commit(files, reached).await
            });
        futures::future::try_join_all(commits).await?;
        info!(topic = self.topic, rows = sealed.rows(), elapsed = ?started.elapsed(), "landed");
        Ok(())
    }
}

impl Marks {
    async fn of(table: &Table, names: &TopicNames) -> Result<Self, Error> {
        let snapshot = table.snapshot();
        Ok(Self {
            version: snapshot.version(),
            landing: snapshot.transaction(&names.mark()).await?,
            sweep: snapshot.transaction(SWEEP).await?,
        })
    }
}

impl Writer {
    /// What is recorded beside the rows of one commit.
    fn transactions(&self, more: &Reached) -> Vec<Transaction> {
        let mut reached = self.reached.clone();
        reached.extend(more);
        let mut transactions = vec![Transaction::unique(&self.names.mark())];
        let mut record = |application, version| {
            transactions.push(Transaction {
                application,
                version,
            });
        };
        let Some(recording) = self.recording.as_ref().filter(|_| !more.is_empty()) else {
            return transactions;
        };
        for partition in more.positions.keys() {
            let name = recording.positions.position(*partition);
            record(name, reached.positions[partition]);
        }
        for partition in more.newest_us.keys() {
            let name = recording.positions.newest_event(*partition);
            record(name, reached.newest_us[partition]);
        }
        if let Some(id) = recording.topic_id {
            for (name, half) in self.names.id().into_iter().zip(halves(id)) {
                record(name, half);
            }
        }
        transactions
    }

    /// Makes the files part of the table, unless another landing has committed since.
    async fn commit(&mut self, mut files: Vec<StagedFile>, more: &Reached) -> Result<(), Error> {
        let transactions = self.transactions(more);
        let mark = transactions[0].version;
        for attempt in 1..=TRIES {
            if self.swept_since().await? {
                warn!(table = %self.table.name(), "orphan files were removed concurrently; re-uploading staged files");
                self.staged.note_removal();
            }
            files = self.staged.reupload_removed(files).await?;
            let change = Change {
                add: files.iter().map(|staged| staged.file.clone()).collect(),
                transactions: transactions.clone(),
                ..Change::default()
            };
            match self.table.commit(&change).await? {
                Outcome::Committed(version) => {
                    (self.seen.landing, self.seen.version) = (Some(mark), version);
                    self.reached.extend(more);
                    info!(table = %self.table.name(), version, files = change.add.len(), "committed");
                    return Ok(());
                }
                Outcome::Superseded => {
                    let version = self.table.snapshot().version();
                    self.retries.inc();
                    warn!(table = %self.table.name(), version, attempt, "commit conflict, retrying");
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
}

/// Which Kafka topic called `topic` the positions of a table are of, if it has any.
pub(super) async fn recorded_id(
    snapshot: &Snapshot,
    topic: &str,
) -> Result<Option<[i64; 2]>, Error> {
    let mut recorded = [None; 2];
    for (half, name) in recorded.iter_mut().zip(TopicNames::of(topic).id()) {
        *half = snapshot.transaction(&name).await?;
    }
    let [high, low] = recorded;
    Ok(high.zip(low).map(|(high, low)| [high, low]))
}

/// An id as the two numbers that a log can record.
pub(super) fn halves(id: Uuid) -> [i64; 2] {
    let (high, low) = id.as_u64_pair();
    [high, low].map(|half| i64::from_ne_bytes(half.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::RecordBatch;
    use engine::lake::{Lake, StoreOptions, Stores, Swept};
    use tempfile::TempDir;
    use url::Url;
    use uuid::Uuid;

    use super::super::dead_letters;
    use super::super::stage::StagedFile;
    use super::{Counters, MemoryBudget, Reached, Recording, Tables};
    use crate::error::Error;

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
        Tables::open(
            lake,
            topic,
            &schemas,
            &MemoryBudget::default(),
            &Counters::default(),
        )
        .await
        .expect("opened")
    }

    /// A file without rows that no commit names yet.
    async fn staged(tables: &Tables) -> StagedFile {
        let rows = RecordBatch::new_empty(dead_letters::schema().columns);
        let batch = tables.stage().begin(vec![vec![rows]]).await.await;
        let mut files = batch.expect("staged").remove(0);
        files.pop().expect("a file")
    }

    #[tokio::test]
    async fn what_the_landing_of_another_topic_swept_is_stored_again() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let mut one = open(&lake, "one").await;
        // The later one is for a commit that follows the one that notices.
        let (file, later) = (staged(&one).await, staged(&one).await);
        let place = directory.path().join("dead_letters");
        let paths = [&file, &later].map(|staged| place.join(staged.file.path()));
        assert!(paths.iter().all(|path| path.exists()));
        let mut other = open(&lake, "other").await;
        assert!(!paths.iter().any(|path| path.exists()), "they were swept");
        let others = staged(&other).await;
        other.writers[0]
            .commit(vec![others], &Reached::default())
            .await
            .expect("committed");
        for file in [file, later] {
            one.writers[0]
                .commit(vec![file], &Reached::default())
                .await
                .expect("committed");
        }
        assert_eq!(one.writers[0].table.snapshot().size().0, 3);
        // Nothing is left to sweep: each file there is one that the table names.
        let swept = one.writers[0].table.sweep().await.expect("swept");
        assert_eq!(swept, Swept::default());
        let there = std::fs::read_dir(place).expect("listed");
        let data_file = |name: &str| name.ends_with(".parquet");
        let names = there.map(|entry| entry.expect("an entry").file_name());
        assert_eq!(
            names
                .filter(|name| name.to_str().is_some_and(data_file))
                .count(),
            3
        );
    }

    #[tokio::test]
    async fn the_second_of_two_landings_of_one_topic_stops() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let (mut one, mut other) = (open(&lake, "one").await, open(&lake, "one").await);
        let (mine, theirs) = (staged(&one).await, staged(&other).await);
        one.writers[0]
            .commit(vec![mine], &Reached::default())
            .await
            .expect("committed");
        let refused = other.writers[0]
            .commit(vec![theirs], &Reached::default())
            .await;
        assert!(
            matches!(refused, Err(Error::Superseded { .. })),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_position_is_of_one_source_and_its_topic() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let (id, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let postgres = |tables| Recording::postgres("t", tables, Some(id));
        let mut tables = open(&lake, "t").await;
        let found = tables.record(postgres(1), &[0]).await;
        assert_eq!(found.expect("none yet"), [Reached::default()]);
        let reached = Reached {
            positions: [(0, 5)].into(),
            newest_us: [(0, 70)].into(),
        };
        tables.writers[0]
            .commit(Vec::new(), &reached)
            .await
            .expect("committed");
        let check = async |recording, expected: Option<Reached>| {
            let found = open(&lake, "t").await.record(recording, &[0]).await;
            match (found, expected) {
                (Ok(found), Some(expected)) => assert_eq!(found, [expected]),
                (Err(Error::TopicRecreated { .. }), None) => {}
                (found, _) => panic!("{found:?}"),
            }
        };
        check(postgres(1), Some(reached.clone())).await;
        check(postgres(2), Some(Reached::default())).await;
        check(Recording::kafka("t", id), Some(Reached::default())).await;
        check(Recording::kafka("t", other), None).await;
        check(Recording::postgres("t", 1, Some(other)), None).await;
        // Nobody knows which it is.
        check(Recording::postgres("t", 1, None), Some(reached)).await;
    }
}
