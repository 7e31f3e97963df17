//! The coordinator of a landing: skips messages that the tables already hold, and commits the rest.
//!
//! # Resume
//!
//! Every commit records the position of its source beside the rows. Tables commit one by one, so
//! that a crash may leave some behind others. The next landing therefore reads from the lowest
//! position of all tables (`resume_from`), and tables that are ahead skip what they hold (`dedup`).
//! A newly declared table has no position, so the landing reads the topic from its earliest
//! retained offset. Offsets that Kafka has already deleted are no loss for that table. For tables
//! that already hold data they are: every offset from `min_started` on must still exist.
//!
//! # Order
//!
//! Decoders finish blocks out of order. A position covers everything before it, so blocks of a
//! source with positions are applied in the order of reading.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use arrow::compute::filter_record_batch;
use connections::records::Positions;
use lake::TableName;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::dead_letters::{self, NewDeadLetter};
use crate::declaration::TopicDeclaration;
use crate::error::Error;
use crate::land::commit::buffer::Buffer;
use crate::land::commit::committer::Committer;
use crate::land::commit::memory_budget::BudgetShare;
use crate::land::commit::stage::Stage;
use crate::land::commit::tables::Tables;
use crate::land::dedup::{DedupState, dedup_mask};
use crate::land::metrics::Tally;
use crate::land::source_progress::SourceProgress;
use crate::land::sources::landing_source::LandingSource;
use crate::land::workers::Processed;
use crate::land::{CommitLimits, Destination, Progress};
use crate::source::watch::SelectedFile;

/// How often the coordinator checks that the topic was not deleted and created again.
const RECREATION_CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Owns the deduplication state, and is the only task that commits.
pub(crate) struct LandingCoordinator {
    topic: String,
    source: LandingSource,
    /// Where reading starts: the lowest position of all tables. A topic partition is absent when
    /// any table has no position for it.
    pub(crate) resume_from: Positions,
    /// Lowest start position among tables that already hold data of the partition; offsets from
    /// here must still exist in Kafka.
    min_started: Positions,
    /// Decoded blocks that wait for a block that was read before them, by sequence number.
    early: BTreeMap<u64, Processed>,
    /// Sequence number of the block that is applied next.
    next_sequence: u64,
    /// Of all tables, in the topic's order, and then of `dead_letters`.
    names: Vec<TableName>,
    /// Index of `dead_letters` in `names`, in the buffer and in the tally.
    dead_letters: usize,
    stage: Stage,
    committer: Committer,
    buffer: Buffer,
    /// Registers this landing with the memory budget until it is dropped.
    _share: BudgetShare,
    limits: CommitLimits,
    dedup: DedupState,
    progress: Progress,
    tally: Tally,
}

impl LandingCoordinator {
    /// Opens the tables of `topic` for messages from `source`.
    pub(crate) async fn open(
        into: &Destination,
        topic: &TopicDeclaration,
        source: LandingSource,
    ) -> Result<Self, Error> {
        let mut schemas: Vec<_> = topic
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.schema.clone()))
            .collect();
        let dead_letters = schemas.len();
        schemas.push((dead_letters::table_name(), dead_letters::schema()));
        // The tables are opened before the deduplication state is read: when another landing
        // commits in between, the first commit of this one conflicts and adds no row twice.
        let (budget, counters) = (&into.memory, &into.counters);
        let mut tables = Tables::open(&into.lake, &topic.name, &schemas, budget, counters).await?;
        let partitions = source.partitions();
        let recorded = match source.recording(&topic.name) {
            None => vec![SourceProgress::default(); schemas.len()],
            Some(recording) => tables.record(recording, &partitions).await?,
        };
        let committed = SourceProgress {
            newest_us: lowest_of_all(recorded.iter().map(|table| &table.newest_us)),
            ..SourceProgress::default()
        };
        let resume_from = lowest_of_all(recorded.iter().map(|table| &table.positions));
        let min_started = lowest_known(recorded.iter().map(|table| &table.positions));
        let positions = recorded.into_iter().map(|table| table.positions);
        let positions = positions.collect();
        let dedup = DedupState::read(into, topic, &partitions, &resume_from, positions).await?;
        let names: Vec<_> = schemas.into_iter().map(|(name, _)| name).collect();
        let share = budget.register();
        Ok(Self {
            topic: topic.name.clone(),
            source,
            resume_from,
            min_started,
            early: BTreeMap::new(),
            next_sequence: 0,
            buffer: Buffer::new(names.len(), share.reservation()),
            _share: share,
            tally: Tally::new(counters.clone(), &topic.name, &names),
            names,
            dead_letters,
            stage: tables.stage(),
            committer: Committer::new(tables, committed),
            limits: into.limits,
            dedup,
            progress: Progress::default(),
        })
    }

    /// Counts files that are about to be read.
    pub(crate) fn expect_files(&mut self, files: &[SelectedFile]) {
        self.progress.files_total += files.len();
        self.progress.bytes_total += files.iter().map(|file| file.meta.size).sum::<u64>();
    }

    /// Counts records that are about to be read.
    pub(crate) fn expect_records(&mut self, count: u64) {
        self.progress.records_total += count;
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            commits: self.committer.commits,
            ..self.progress
        }
    }

    /// The positions that all tables have committed by now.
    pub(crate) fn committed(&self) -> Positions {
        self.with_commits(&self.resume_from)
    }

    /// `min_started`, advanced by what this landing has committed.
    pub(crate) fn min_started(&self) -> Positions {
        self.with_commits(&self.min_started)
    }

    /// `start`, moved on by the commits of this landing.
    fn with_commits(&self, start: &Positions) -> Positions {
        let mut positions = start.clone();
        positions.extend(self.committer.committed.positions.clone());
        positions
    }

    /// Applies what the workers have processed, and commits it when it is due, until they end.
    pub(crate) async fn run(
        &mut self,
        mut processed: mpsc::Receiver<Result<Processed, Error>>,
        progress: &(dyn Fn(&Progress) + Sync),
    ) -> Result<(), Error> {
        let mut look = tokio::time::interval(RECREATION_CHECK_INTERVAL);
        // After a slow call of a broker the missed ticks are delayed: in a burst they would keep a
        // commit that is due waiting.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.buffer.since.map(|since| since + self.limits.interval);
            let due = due.unwrap_or_else(|| Instant::now() + self.limits.interval);
            tokio::select! {
                next = processed.recv() => match next {
                    None => return Ok(()),
                    Some(next) => {
                        self.reorder(next?)?;
                        progress(&self.progress());
                    }
                },
                // When the source goes quiet, its last rows become visible all the same.
                () = tokio::time::sleep_until(due.into()), if !self.buffer.is_empty() => {
                    self.commit().await?;
                }
                // A failed commit is reported at once, not when the next one is due.
                finished = self.committer.finish(), if self.committer.is_busy() => {
                    finished?;
                    self.update_metrics();
                    self.source.commit_group_offsets(&self.committer.committed.positions);
                }
                _ = look.tick() => {
                    self.source.check_same_topic().await?;
                    self.update_metrics();
                }
            }
            self.buffer.flush_if_full(&self.stage).await;
            if self.buffer.should_commit(&self.limits) {
                self.commit().await?;
            }
        }
    }

    /// Commits the buffer and waits for the commit.
    pub(crate) async fn finish(
        &mut self,
        progress: &(dyn Fn(&Progress) + Sync),
    ) -> Result<(), Error> {
        self.commit().await?;
        self.committer.finish().await?;
        self.update_metrics();
        self.source
            .commit_group_offsets(&self.committer.committed.positions);
        progress(&self.progress());
        Ok(())
    }

    /// Starts to commit the buffer.
    async fn commit(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // The last step before the commit: messages of a recreated topic must not be committed.
        self.source.check_same_topic().await?;
        match self.buffer.seal(&self.stage).await {
            Some(sealed) => {
                self.committer.start(sealed).await?;
                self.update_metrics();
                self.tally.seal();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts what is committed, and publishes lag and positions.
    fn update_metrics(&mut self) {
        self.tally.record_commits(self.committer.commits);
        let (committed, counters) = (self.committed(), &self.tally.counters);
        self.source.show_lag(&self.topic, &committed, counters);
        let newest_us = &self.committer.committed.newest_us;
        counters.show_committed(&self.topic, &committed, newest_us);
    }

    /// Applies a block once all blocks that were read before it are applied. A block of a source
    /// without positions is applied at once.
    fn reorder(&mut self, processed: Processed) -> Result<(), Error> {
        let Some(order) = &processed.order else {
            return self.apply(processed);
        };
        self.early.insert(order.sequence, processed);
        while let Some(mut processed) = self.early.remove(&self.next_sequence) {
            let order = processed.order.take();
            self.apply(processed)?;
            self.next_sequence += 1;
            if let Some(order) = order {
                self.dedup.advance(&order.progress.positions);
                self.buffer.advance(&order.progress);
            }
        }
        Ok(())
    }

    /// Adds the new rows and dead letters of a block to the buffer.
    fn apply(&mut self, processed: Processed) -> Result<(), Error> {
        self.progress.files_done += usize::from(processed.ends_file);
        self.progress.bytes_done += processed.bytes;
        self.progress.records_done += processed.records;
        self.progress.skipped += processed.repeated;
        self.buffer.add_bytes(processed.bytes);
        self.tally.event(processed.newest_event_us);
        // By message: whether it is new to any table.
        let mut messages: HashMap<(i32, i64), bool> = HashMap::new();
        for (table, rows) in processed.rows.into_iter().enumerate() {
            let mut decided = HashMap::new();
            for rows in rows {
                let mask = dedup_mask(&rows, &mut self.dedup.tables[table], &mut decided);
                let new = filter_record_batch(&rows, &mask).map_err(|source| Error::Encode {
                    table: self.names[table].clone(),
                    source: source.into(),
                })?;
                self.tally.rows(table, new.num_rows());
                self.buffer.push(table, new);
            }
            for (message, new) in decided {
                *messages.entry(message).or_default() |= new;
            }
        }
        let new = messages.values().filter(|new| **new).count() as u64;
        self.progress.landed += new;
        self.progress.skipped += messages.len() as u64 - new;
        self.apply_dead_letters(processed.refused)
    }

    fn apply_dead_letters(&mut self, refused: Vec<NewDeadLetter>) -> Result<(), Error> {
        let all = refused.len() as u64;
        let new: Vec<_> = refused
            .into_iter()
            .filter(|dead_letter| self.dedup.insert_dead_letter(dead_letter))
            .collect();
        self.progress.refused += new.len() as u64;
        self.progress.skipped += all - new.len() as u64;
        if !new.is_empty() {
            let rows = dead_letters::rows(&new).map_err(|source| Error::Encode {
                table: dead_letters::table_name(),
                source: source.into(),
            })?;
            self.tally.rows(self.dead_letters, rows.num_rows());
            self.tally.dead_letters(&new);
            self.buffer.push(self.dead_letters, rows);
        }
        Ok(())
    }
}

/// The lowest number of each topic partition over all tables; absent where any table has none.
fn lowest_of_all<'a>(tables: impl Iterator<Item = &'a BTreeMap<i32, i64>> + Clone) -> Positions {
    let mut lowest = lowest_known(tables.clone());
    lowest.retain(|partition, _| {
        tables
            .clone()
            .all(|numbers| numbers.contains_key(partition))
    });
    lowest
}

/// The lowest number of each topic partition over those tables that have one.
fn lowest_known<'a>(tables: impl Iterator<Item = &'a BTreeMap<i32, i64>>) -> Positions {
    let mut lowest = Positions::new();
    for (partition, next) in tables.flatten() {
        let known = lowest.entry(*partition).or_insert(*next);
        *known = (*known).min(*next);
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::{lowest_known, lowest_of_all};
    use connections::records::Positions;

    #[test]
    fn lowest_of_all_is_the_minimum_where_every_table_has_a_position() {
        let check = |tables: &[Positions], expected: Positions| {
            assert_eq!(lowest_of_all(tables.iter()), expected, "{tables:?}");
        };
        check(
            &[[(0, 5), (1, 9)].into(), [(0, 7), (1, 2)].into()],
            [(0, 5), (1, 2)].into(),
        );
        // A table that was declared later makes the topic be read from its beginning.
        check(&[[(0, 5)].into(), Positions::new()], Positions::new());
        check(&[Positions::new(), [(0, 5)].into()], Positions::new());
    }

    #[test]
    fn lowest_known_ignores_tables_without_a_position() {
        let tables: [Positions; 3] = [
            Positions::new(),
            [(0, 7), (1, 2)].into(),
            [(0, 5), (2, 4)].into(),
        ];
        let expected = [(0, 5), (1, 2), (2, 4)].into();
        assert_eq!(lowest_known(tables.iter()), expected);
        assert_eq!(lowest_known([].iter()), Positions::new());
    }
}
