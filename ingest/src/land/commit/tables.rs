//! The tables of a topic, and the commits that add staged files to them.

use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use lake::{
    AppTransaction, CommitActions, CommitOutcome, FencingToken, Lake, PositionNames, RemovedFiles,
    Snapshot, Table, TableName, TableSchema, TopicNames,
};
use service::metrics::Counter;
use tracing::{info, warn};
use uuid::Uuid;

use crate::dead_letters;
use crate::error::Error;
use crate::land::commit::buffer::Sealed;
use crate::land::commit::memory_budget::MemoryBudget;
use crate::land::commit::stage::{Stage, StagedFile, StagedTable};
use crate::land::metrics::LandingCounters;
use crate::land::source_progress::SourceProgress;

/// Tables that are opened at the same time.
const OPEN_CONCURRENCY: usize = 8;
/// Attempts at a commit while other writers (removals of orphan files, landings of other topics)
/// commit to the same table.
/// It is high because a removal of orphan files makes the writer upload its staged files again, and
/// the next removal may begin during that upload.
const TRIES: usize = 50;

/// The tables of a topic, with one writer each.
#[derive(Debug)]
pub(crate) struct Tables {
    topic: String,
    writers: Vec<TableWriter>,
    budget: MemoryBudget,
}

#[derive(Debug)]
struct TableWriter {
    table: Table,
    /// The same table, as flush batches stage files for it.
    staged: StagedTable,
    /// Names of the topic's records in the log.
    names: Arc<TopicNames>,
    /// How positions are recorded; none for a source without positions.
    recording: Option<Recording>,
    /// What the log held when this writer last looked.
    seen: FencingTokens,
    /// How far this table has the source. It may be ahead of the other tables, and reading again
    /// for those does not set it back.
    progress: SourceProgress,
    /// Metric of commits that are tried again.
    retries: Counter,
}

/// How a source records its positions.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    positions: PositionNames,
    /// Id of the Kafka topic that the positions belong to, if it is known.
    topic_id: Option<Uuid>,
}

impl Recording {
    pub(crate) fn kafka(topic: &str, id: Uuid) -> Self {
        Self {
            positions: PositionNames::kafka(topic),
            topic_id: Some(id),
        }
    }

    /// `tables` identifies the tables of one database: positions in the tables of another database
    /// mean nothing here.
    pub(crate) fn postgres(topic: &str, tables: i64, topic_id: Option<Uuid>) -> Self {
        Self {
            positions: PositionNames::postgres(topic, tables),
            topic_id,
        }
    }
}

/// The fencing tokens that a version of the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FencingTokens {
    version: u64,
    /// Token of the last commit of any landing of this topic: each commit draws a new one.
    landing: Option<i64>,
    /// Token of the last process that removed orphan files.
    removal: Option<FencingToken>,
}

impl Tables {
    /// Opens the tables of `topic`, creates those that are absent, and removes orphan files.
    /// In `dead_letters` these may belong to running landings of other topics, which then upload
    /// theirs again.
    pub(crate) async fn open(
        lake: &Arc<Lake>,
        topic: &str,
        tables: &[(TableName, TableSchema)],
        budget: &MemoryBudget,
        counters: &LandingCounters,
    ) -> Result<Self, Error> {
        let names = Arc::new(TopicNames::of(topic));
        let names = &names;
        let writers = futures::stream::iter(tables)
            .map(|(name, schema)| async move {
                let mut table = lake.open_or_create(name, schema).await?;
                let removed = table.remove_orphan_files().await?;
                if removed != RemovedFiles::default() {
                    info!(table = %name, files = removed.files, bytes = removed.bytes, "removed orphan files");
                }
                let seen = FencingTokens::of(&table, names).await?;
                Ok::<_, Error>(TableWriter {
                    staged: StagedTable::new(&table, schema.partition.clone()),
                    table,
                    names: Arc::clone(names),
                    recording: None,
                    seen,
                    progress: SourceProgress::default(),
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

    /// Records positions with every commit from now on, and returns those that each table has
    /// recorded already: none for a table that holds nothing of the source.
    ///
    /// # Errors
    /// [`connections::Error::TopicRecreated`] when a table has messages of another Kafka topic with
    /// the same name.
    pub(crate) async fn record(
        &mut self,
        recording: Recording,
        partitions: &[i32],
    ) -> Result<Vec<SourceProgress>, Error> {
        let mut all = Vec::new();
        for writer in &mut self.writers {
            let snapshot = writer.table.snapshot();
            let recorded = recorded_id(snapshot, &self.topic).await?;
            let id = recording.topic_id.map(halves);
            if recorded
                .zip(id)
                .is_some_and(|(recorded, id)| recorded != id)
            {
                return Err(connections::Error::TopicRecreated {
                    topic: self.topic.clone(),
                }
                .into());
            }
            let mut progress = SourceProgress::default();
            for partition in partitions {
                let name = recording.positions.position(*partition);
                if let Some(next) = snapshot.transaction(&name).await? {
                    progress.positions.insert(*partition, next);
                }
                let name = recording.positions.newest_event(*partition);
                if let Some(newest_us) = snapshot.transaction(&name).await? {
                    progress.newest_us.insert(*partition, newest_us);
                }
            }
            all.push(progress.clone());
            writer.progress = progress;
            writer.recording = Some(recording.clone());
        }
        Ok(all)
    }

    /// The stage for rows of these tables.
    pub(crate) fn stage(&self) -> Stage {
        let targets = self.writers.iter().map(|writer| writer.staged.clone());
        Stage::new(targets.collect(), &self.budget)
    }

    /// Commits a sealed buffer: one commit for each table, all tables in parallel.
    pub(crate) async fn commit(&mut self, mut sealed: Sealed) -> Result<(), Error> {
        let started = Instant::now();
        let files = sealed.files(self.writers.len()).await?;
        let (progress, permits) = (&sealed.progress, &self.budget.dead_letters_commit);
        let shared = dead_letters::table_name();
        let shared = &shared;
        // A table without new rows records the position all the same, so that the next landing
        // need not read these messages for it.
        let commits = self
            .writers
            .iter_mut()
            .zip(files)
            .filter(|(_, files)| !files.is_empty() || !progress.is_empty())
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
                writer.commit(files, progress).await
            });
        futures::future::try_join_all(commits).await?;
        info!(topic = self.topic, rows = sealed.rows(), elapsed = ?started.elapsed(), "landed");
        Ok(())
    }
}

impl FencingTokens {
    async fn of(table: &Table, names: &TopicNames) -> Result<Self, Error> {
        let snapshot = table.snapshot();
        Ok(Self {
            version: snapshot.version(),
            landing: snapshot.transaction(&names.landing_token()).await?,
            removal: FencingToken::newest(snapshot).await?,
        })
    }
}

impl TableWriter {
    /// What one commit records beside its rows. The first one is the fencing token.
    fn transactions(&self, more: &SourceProgress) -> Vec<AppTransaction> {
        let mut progress = self.progress.clone();
        progress.extend(more);
        let mut transactions = vec![AppTransaction::unique(&self.names.landing_token())];
        let mut record = |app_id, version| {
            transactions.push(AppTransaction { app_id, version });
        };
        let Some(recording) = self.recording.as_ref().filter(|_| !more.is_empty()) else {
            return transactions;
        };
        for partition in more.positions.keys() {
            let name = recording.positions.position(*partition);
            record(name, progress.positions[partition]);
        }
        for partition in more.newest_us.keys() {
            let name = recording.positions.newest_event(*partition);
            record(name, progress.newest_us[partition]);
        }
        if let Some(id) = recording.topic_id {
            for (name, half) in self.names.id().into_iter().zip(halves(id)) {
                record(name, half);
            }
        }
        transactions
    }

    /// Adds the files to the table, unless another landing of the topic has committed since.
    async fn commit(
        &mut self,
        mut files: Vec<StagedFile>,
        more: &SourceProgress,
    ) -> Result<(), Error> {
        let transactions = self.transactions(more);
        let token = transactions[0].version;
        for attempt in 1..=TRIES {
            if self.check_fencing_tokens().await? {
                warn!(table = %self.table.name(), "orphan files were removed concurrently; re-uploading staged files");
                self.staged.note_removal();
            }
            files = self.staged.reupload_removed(files).await?;
            let change = CommitActions {
                add: files.iter().map(|staged| staged.file.clone()).collect(),
                transactions: transactions.clone(),
                ..CommitActions::default()
            };
            match self.table.commit(&change).await? {
                CommitOutcome::Committed(version) => {
                    (self.seen.landing, self.seen.version) = (Some(token), version);
                    self.progress.extend(more);
                    info!(table = %self.table.name(), version, files = change.add.len(), "committed");
                    return Ok(());
                }
                CommitOutcome::Conflict => {
                    let version = self.table.snapshot().version();
                    self.retries.inc();
                    warn!(table = %self.table.name(), version, attempt, "commit conflict, retrying");
                }
            }
        }
        Err(Error::TooManyConflicts {
            table: self.table.name().clone(),
            tries: TRIES,
        })
    }

    /// Compares the fencing tokens of the newest version with those that this writer saw last. True
    /// when orphan files were removed since, and with them perhaps our staged files.
    ///
    /// Checked before every attempt and not only after a conflict: `commit` reloads the table, so a
    /// removal that committed right after our last commit is part of our snapshot, and causes no
    /// conflict.
    ///
    /// # Errors
    /// When another landing of the topic has committed since: it may have landed the same messages.
    async fn check_fencing_tokens(&mut self) -> Result<bool, Error> {
        if self.table.snapshot().version() == self.seen.version {
            return Ok(false);
        }
        let found = FencingTokens::of(&self.table, &self.names).await?;
        if found.landing != self.seen.landing {
            return Err(Error::Fenced {
                table: self.table.name().clone(),
                version: found.version,
            });
        }
        let removed = found.removal != self.seen.removal;
        self.seen = found;
        Ok(removed)
    }
}

/// Id of the Kafka topic called `topic` that the positions of a table belong to, if it has any.
pub(crate) async fn recorded_id(
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

/// An id as two numbers, since a log records only numbers.
pub(crate) fn halves(id: Uuid) -> [i64; 2] {
    let (high, low) = id.as_u64_pair();
    [high, low].map(|half| i64::from_ne_bytes(half.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::RecordBatch;
    use lake::{Lake, RemovedFiles, StoreOptions, Stores};
    use tempfile::TempDir;
    use url::Url;
    use uuid::Uuid;

    use super::{LandingCounters, MemoryBudget, Recording, SourceProgress, Tables, dead_letters};
    use crate::error::Error;
    use crate::land::commit::stage::StagedFile;

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
            &LandingCounters::default(),
        )
        .await
        .expect("opened")
    }

    /// A staged file without rows.
    async fn staged(tables: &Tables) -> StagedFile {
        let rows = RecordBatch::new_empty(dead_letters::schema().columns);
        let batch = tables.stage().begin(vec![vec![rows]]).await.await;
        let mut files = batch.expect("staged").remove(0);
        files.pop().expect("a file")
    }

    #[tokio::test]
    async fn staged_files_removed_by_another_topic_are_uploaded_again() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let mut one = open(&lake, "one").await;
        // The second file is for the commit after the one that notices the removal.
        let (file, later) = (staged(&one).await, staged(&one).await);
        let place = directory.path().join("dead_letters");
        let paths = [&file, &later].map(|staged| place.join(staged.file.path()));
        assert!(paths.iter().all(|path| path.exists()));
        let mut other = open(&lake, "other").await;
        assert!(!paths.iter().any(|path| path.exists()), "they were removed");
        let others = staged(&other).await;
        other.writers[0]
            .commit(vec![others], &SourceProgress::default())
            .await
            .expect("committed");
        for file in [file, later] {
            one.writers[0]
                .commit(vec![file], &SourceProgress::default())
                .await
                .expect("committed");
        }
        assert_eq!(one.writers[0].table.snapshot().size().0, 3);
        // No orphan file is left: the table names every file in its directory.
        let removed = one.writers[0]
            .table
            .remove_orphan_files()
            .await
            .expect("removed");
        assert_eq!(removed, RemovedFiles::default());
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
    async fn second_landing_of_a_topic_is_fenced() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let (mut one, mut other) = (open(&lake, "one").await, open(&lake, "one").await);
        let (mine, theirs) = (staged(&one).await, staged(&other).await);
        one.writers[0]
            .commit(vec![mine], &SourceProgress::default())
            .await
            .expect("committed");
        let refused = other.writers[0]
            .commit(vec![theirs], &SourceProgress::default())
            .await;
        assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn position_belongs_to_one_source_and_one_topic_id() {
        let directory = TempDir::new().expect("a directory");
        let lake = lake(&directory);
        let (id, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let postgres = |tables| Recording::postgres("t", tables, Some(id));
        let mut tables = open(&lake, "t").await;
        let found = tables.record(postgres(1), &[0]).await;
        assert_eq!(found.expect("none yet"), [SourceProgress::default()]);
        let progress = SourceProgress {
            positions: [(0, 5)].into(),
            newest_us: [(0, 70)].into(),
        };
        tables.writers[0]
            .commit(Vec::new(), &progress)
            .await
            .expect("committed");
        let check = async |recording, expected: Option<SourceProgress>| {
            let found = open(&lake, "t").await.record(recording, &[0]).await;
            match (found, expected) {
                (Ok(found), Some(expected)) => assert_eq!(found, [expected]),
                (Err(Error::Connections(connections::Error::TopicRecreated { .. })), None) => {}
                (found, _) => panic!("{found:?}"),
            }
        };
        check(postgres(1), Some(progress.clone())).await;
        check(postgres(2), Some(SourceProgress::default())).await;
        check(Recording::kafka("t", id), Some(SourceProgress::default())).await;
        check(Recording::kafka("t", other), None).await;
        check(Recording::postgres("t", 1, Some(other)), None).await;
        // Without an id a recreated topic is not detected.
        check(Recording::postgres("t", 1, None), Some(progress)).await;
    }
}
