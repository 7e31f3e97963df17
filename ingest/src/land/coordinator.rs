//! The coordinator of a landing: leaves out what has landed, and has the rest committed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use engine::lake::TableName;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::buffer::Buffer;
use super::committer::Committer;
use super::landed::{Identities, Refused};
use super::memory_budget::BudgetShare;
use super::metrics::Tally;
use super::reached::Reached;
use super::source::Source;
use super::stage::Stage;
use super::tables::Tables;
use super::workers::Processed;
use super::{Destination, Limits, Progress, dead_letters};
use crate::declaration::{IDENTITY, Topic};
use crate::error::Error;
use crate::source::Positions;
use crate::source::watch::Chosen;

/// How often a source is asked whether it is still the same one.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// The only one who knows what has landed and who commits.
pub(crate) struct Landing {
    topic: String,
    source: Source,
    /// Where every table has everything of the source before: it is read from here.
    pub(crate) resume: Positions,
    /// Where those tables went on when the landing began that have taken anything of a topic partition.
    taken: Positions,
    /// Blocks that were decoded before one that was read earlier.
    arrived: BTreeMap<u64, Processed>,
    /// The place of the block that is accepted next.
    next: u64,
    /// Of the tables, `dead_letters` last.
    names: Vec<TableName>,
    stage: Stage,
    committer: Committer,
    buffer: Buffer,
    /// Registers this landing with the budget for as long as it lasts.
    _share: BudgetShare,
    limits: Limits,
    /// By table, in the topic's order.
    landed: Vec<Identities>,
    /// Messages that had rows when the landing began. They are not refused afterwards: a landing that was started with
    /// an older declaration would bring back the letters that a replay has landed.
    before: Identities,
    refused: Refused,
    progress: Progress,
    tally: Tally,
}

impl Landing {
    /// Opens the tables of `topic` for messages from `source`.
    pub(crate) async fn open(
        into: &Destination,
        topic: &Topic,
        source: Source,
    ) -> Result<Self, Error> {
        let mut schemas: Vec<_> = topic
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.schema.clone()))
            .collect();
        schemas.push((dead_letters::table_name(), dead_letters::schema()));
        // Before the identities are read: who commits in between is noticed by the first commit.
        let (budget, counters) = (&into.memory, &into.counters);
        let mut tables = Tables::open(&into.lake, &topic.name, &schemas, budget, counters).await?;
        let partitions = source.partitions();
        let reached = match source.recording(&topic.name) {
            None => vec![Reached::default(); schemas.len()],
            Some(recording) => tables.record(recording, &partitions).await?,
        };
        let committed = Reached {
            newest_us: lowest(reached.iter().map(|reached| &reached.newest_us)),
            ..Reached::default()
        };
        let resume = lowest(reached.iter().map(|reached| &reached.positions));
        let taken = lowest_known(reached.iter().map(|reached| &reached.positions));
        let positions = reached.into_iter().map(|reached| reached.positions);
        let known = Known::read(into, topic, &partitions, &resume, positions.collect()).await?;
        let names: Vec<_> = schemas.into_iter().map(|(name, _)| name).collect();
        let share = budget.register();
        Ok(Self {
            topic: topic.name.clone(),
            source,
            resume,
            taken,
            arrived: BTreeMap::new(),
            next: 0,
            buffer: Buffer::new(names.len(), share.reservation()),
            _share: share,
            tally: Tally::new(counters.clone(), &topic.name, &names),
            names,
            stage: tables.stage(),
            committer: Committer::new(tables, committed),
            limits: into.limits,
            landed: known.landed,
            before: known.before,
            refused: known.refused,
            progress: Progress::default(),
        })
    }

    /// Counts files that are about to be read.
    pub(crate) fn expect(&mut self, files: &[Chosen]) {
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

    /// How far all tables have the topic by now.
    pub(crate) fn committed(&self) -> Positions {
        self.behind_commits(&self.resume)
    }

    /// Where those tables go on by now that have taken anything of a topic partition: what follows must still be there.
    pub(crate) fn taken(&self) -> Positions {
        self.behind_commits(&self.taken)
    }

    /// Where what began at `from` goes on by now.
    fn behind_commits(&self, from: &Positions) -> Positions {
        let mut positions = from.clone();
        positions.extend(self.committer.committed.positions.clone());
        positions
    }

    /// Takes what the workers have processed until they end.
    pub(crate) async fn take(
        &mut self,
        mut processed: mpsc::Receiver<Result<Processed, Error>>,
        progress: &(dyn Fn(&Progress) + Sync),
    ) -> Result<(), Error> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        // Brokers that do not answer must not be asked again and again while something waits to be committed.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.buffer.since.map(|since| since + self.limits.interval);
            let due = due.unwrap_or_else(|| Instant::now() + self.limits.interval);
            tokio::select! {
                next = processed.recv() => match next {
                    None => return Ok(()),
                    Some(next) => {
                        self.arrive(next?)?;
                        progress(&self.progress());
                    }
                },
                // A source that goes quiet must not keep its last rows from being seen.
                () = tokio::time::sleep_until(due.into()), if !self.buffer.is_empty() => {
                    self.commit().await?;
                }
                // A commit that fails is told at once, and not when the next one is due.
                finished = self.committer.finish(), if self.committer.is_busy() => {
                    finished?;
                    self.count();
                    self.source.display(&self.committer.committed.positions);
                }
                _ = look.tick() => {
                    self.source.refuse_another().await?;
                    self.count();
                }
            }
            self.buffer.flush_if_full(&self.stage).await;
            if self.buffer.should_commit(&self.limits) {
                self.commit().await?;
            }
        }
    }

    /// Commits what is in hand and waits for it.
    pub(crate) async fn finish(
        &mut self,
        progress: &(dyn Fn(&Progress) + Sync),
    ) -> Result<(), Error> {
        self.commit().await?;
        self.committer.finish().await?;
        self.count();
        self.source.display(&self.committer.committed.positions);
        progress(&self.progress());
        Ok(())
    }

    /// Begins to commit what is in hand.
    async fn commit(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // Asked last, so that nothing is committed that may be of another topic.
        self.source.refuse_another().await?;
        match self.buffer.seal(&self.stage).await {
            Some(sealed) => {
                self.committer.start(sealed).await?;
                self.count();
                self.tally.seal();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts what has been committed, and what has not yet.
    fn count(&mut self) {
        self.tally.settle(self.committer.commits);
        let (committed, counters) = (self.committed(), &self.tally.counters);
        self.source.show_lag(&self.topic, &committed, counters);
        let newest_us = &self.committer.committed.newest_us;
        counters.show_reached(&self.topic, &committed, newest_us);
    }

    /// Accepts a block when all that were read before it are accepted, where the source has an order.
    fn arrive(&mut self, processed: Processed) -> Result<(), Error> {
        let Some(reach) = &processed.reach else {
            return self.accept(processed);
        };
        self.arrived.insert(reach.sequence, processed);
        while let Some(mut processed) = self.arrived.remove(&self.next) {
            let reach = processed.reach.take();
            self.accept(processed)?;
            self.next += 1;
            if let Some(reach) = reach {
                for landed in &mut self.landed {
                    landed.advance(&reach.reached.positions);
                }
                self.refused.advance(&reach.reached.positions);
                self.buffer.reach(&reach.reached);
            }
        }
        Ok(())
    }

    /// Adds what is new to the buffer.
    fn accept(&mut self, processed: Processed) -> Result<(), Error> {
        self.progress.files_done += usize::from(processed.ends_file);
        self.progress.bytes_done += processed.bytes;
        self.progress.records_done += processed.records;
        self.progress.skipped += processed.repeated;
        self.buffer.add_bytes(processed.bytes);
        self.tally.event(processed.newest_event_us);
        let mut verdicts: HashMap<(i32, i64), bool> = HashMap::new();
        for (table, rows) in processed.rows.into_iter().enumerate() {
            let landed = &mut self.landed[table];
            // A message may be many rows; the first of them decides for all.
            let mut claimed = HashMap::new();
            for rows in rows {
                let mask = claim(&rows, landed, &mut claimed);
                let new = filter_record_batch(&rows, &mask).map_err(|source| Error::Encode {
                    table: self.names[table].clone(),
                    source: source.into(),
                })?;
                self.tally.rows(table, new.num_rows());
                self.buffer.push(table, new);
            }
            for (identity, new) in claimed {
                *verdicts.entry(identity).or_default() |= new;
            }
        }
        let new = verdicts.values().filter(|new| **new).count() as u64;
        self.progress.landed += new;
        self.progress.skipped += verdicts.len() as u64 - new;
        let letters = processed.refused.len() as u64;
        let letters_new: Vec<_> = processed
            .refused
            .into_iter()
            .filter(|letter| !letter.identity.is_some_and(|of| self.before.has(of)))
            .filter(|letter| self.refused.insert(letter))
            .collect();
        self.progress.refused += letters_new.len() as u64;
        self.progress.skipped += letters - letters_new.len() as u64;
        if !letters_new.is_empty() {
            let rows = dead_letters::rows(&letters_new).map_err(|source| Error::Encode {
                table: dead_letters::table_name(),
                source: source.into(),
            })?;
            self.tally.rows(self.landed.len(), rows.num_rows());
            self.tally.letters(&letters_new);
            self.buffer.push(self.landed.len(), rows);
        }
        Ok(())
    }
}

/// What has become of the messages that are read, as far as tables say it.
struct Known {
    /// By table, in the topic's order.
    landed: Vec<Identities>,
    /// Messages that have rows in any of them.
    before: Identities,
    refused: Refused,
}

impl Known {
    /// Reads it, of messages from `resume` on. A table stands for what lies before its own of `positions`.
    async fn read(
        into: &Destination,
        topic: &Topic,
        partitions: &[i32],
        resume: &Positions,
        mut positions: Vec<Positions>,
    ) -> Result<Self, Error> {
        let mut from = resume.clone();
        for positions in positions.iter_mut().chain([&mut from]) {
            // Of what has no position yet, rows may have come by another road.
            for number in partitions {
                positions.entry(*number).or_default();
            }
        }
        // The position of `dead_letters` does not stand for what it lacks: a table that was declared later may refuse what
        // nobody has refused. Letters are read before rows, of which a replay may make some of them meanwhile.
        let refused = Refused::read(&into.session, &topic.name, from.clone()).await?;
        let (mut landed, mut before) = (Vec::new(), Identities::default());
        for (table, positions) in topic.tables.iter().zip(positions) {
            let read = Identities::below(from.clone());
            let mut read = read.read(&into.session, &table.name, &topic.name).await?;
            before.extend(&read);
            read.advance(&positions);
            landed.push(read);
        }
        Ok(Self {
            landed,
            before,
            refused,
        })
    }
}

/// Of each topic partition, the lowest of the numbers of all tables; none where a table has none.
fn lowest<'a>(tables: impl Iterator<Item = &'a BTreeMap<i32, i64>> + Clone) -> Positions {
    let mut lowest = lowest_known(tables.clone());
    lowest.retain(|partition, _| {
        tables
            .clone()
            .all(|numbers| numbers.contains_key(partition))
    });
    lowest
}

/// Of each topic partition, the lowest of the numbers of those tables that have one.
fn lowest_known<'a>(tables: impl Iterator<Item = &'a BTreeMap<i32, i64>>) -> Positions {
    let mut lowest = Positions::new();
    for (partition, next) in tables.flatten() {
        let known = lowest.entry(*partition).or_insert(*next);
        *known = (*known).min(*next);
    }
    lowest
}

/// Which of `rows` belong to messages that are new to their table.
pub(super) fn claim(
    rows: &RecordBatch,
    landed: &mut Identities,
    claimed: &mut HashMap<(i32, i64), bool>,
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
            let new = claimed
                .entry((*partition, *offset))
                .or_insert_with(|| landed.insert(*partition, *offset));
            Some(*new)
        });
    new.collect()
}

#[cfg(test)]
mod tests {
    use super::{lowest, lowest_known};
    use crate::source::Positions;

    #[test]
    fn a_topic_is_read_from_where_every_table_has_everything_before() {
        let check = |tables: &[Positions], expected: Positions| {
            assert_eq!(lowest(tables.iter()), expected, "{tables:?}");
        };
        check(
            &[[(0, 5), (1, 9)].into(), [(0, 7), (1, 2)].into()],
            [(0, 5), (1, 2)].into(),
        );
        // A table that was declared later takes the topic from its beginning.
        check(&[[(0, 5)].into(), Positions::new()], Positions::new());
        check(&[Positions::new(), [(0, 5)].into()], Positions::new());
    }

    #[test]
    fn a_table_without_a_position_does_not_hide_where_the_others_go_on() {
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
