//! Replay: validates dead letters again by the present declarations. Messages that are well-formed
//! now become rows of their topic's tables, each once, and are removed from `dead_letters`.
//!
//! A replay is a landing whose source is table `dead_letters`: it commits the fencing token of one,
//! so that a landing beside it restarts from the tables, and the replay restarts when the landing
//! commits first. It commits rows before it removes their dead letters. Deduplication reads the
//! rows of each table and not its position: a refused message lies before the position, and has no
//! rows.

mod removal;
mod validate;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use connections::records::Positions;
use lake::{DataFile, PartitionKey, Table, TableName};
use roaring::RoaringTreemap;
use tracing::{info, warn};

use self::removal::{Removal, RemovalOutcome, remove_rows};
pub use self::validate::ReplaySources;
use self::validate::{DeadLetterValidator, ValidatedChunk, Validity};
use super::Destination;
use super::commit::buffer::Buffer;
use super::commit::memory_budget::BudgetShare;
use super::commit::tables::Tables;
use super::dedup::{OffsetSet, dedup_mask};
use crate::dead_letters::{self, Address, DeadLetter, Filter};
use crate::declaration::TopicDeclaration;
use crate::error::Error;

/// Attempts at a replay while other processes commit to the same tables.
const TRIES: usize = 10;
/// Dead letters, and bytes of them, that are validated together.
const CHUNK_DEAD_LETTERS: usize = 4096;
const CHUNK_BYTES: usize = 4 << 20;

/// A replay of dead letters of one topic.
#[derive(Debug)]
pub struct Replay {
    /// Where the rows go.
    pub into: Destination,
    /// Where messages are read again.
    pub sources: ReplaySources,
    /// Selects dead letters. Its topic is ignored: the replay takes that of `sources.kafka`.
    pub filter: Filter,
    /// Whether to count what would land, and to change nothing.
    pub dry_run: bool,
}

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Dead letters that were validated.
    pub validated: u64,
    /// Dead letters whose messages became rows.
    pub landed: u64,
    /// Dead letters whose messages had all their rows already.
    pub present: u64,
    /// Dead letters that are still malformed, and stay.
    pub malformed: u64,
    /// Dead letters that stay because they cannot be validated, with the reason.
    pub not_validated: Vec<(Address, String)>,
    /// New rows by table.
    pub rows: BTreeMap<TableName, u64>,
}

/// Replays the dead letters that the filter selects. It calls `progress` after each chunk.
///
/// # Errors
/// When no table is declared for the topic, when the storage, Kafka or PostgreSQL fails, or when
/// other processes commit during every attempt. Earlier commits stay, and a repeated replay
/// continues from there.
pub async fn replay(
    replay: Replay,
    progress: &(dyn Fn(&Replayed) + Sync),
) -> Result<Replayed, Error> {
    let topic = replay.into.topic(&replay.sources.kafka.topic)?;
    let filter = Filter {
        topic: Some(topic.name.clone()),
        ..replay.filter.clone()
    };
    let mut last = None;
    for _ in 0..TRIES {
        let Some(table) = replay.into.lake.open(&dead_letters::table_name()).await? else {
            return Ok(Replayed::default());
        };
        let mut attempt = Attempt::begin(&replay, &topic, &filter, table).await?;
        match attempt.run(progress).await {
            Ok(RemovalOutcome::Removed) => return Ok(attempt.replayed),
            Ok(RemovalOutcome::FilesReplaced) => {
                warn!("another process rewrote dead letters; validating them again");
            }
            Err(error @ Error::Fenced { .. }) => {
                warn!("{error}");
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(Error::TooManyConflicts {
        table: dead_letters::table_name(),
        tries: TRIES,
    }))
}

/// One attempt at a replay, which starts by reading what the tables hold.
struct Attempt<'a> {
    replay: &'a Replay,
    filter: &'a Filter,
    /// Table `dead_letters`.
    dead_letters: Table,
    /// Of the topic's tables.
    names: Vec<TableName>,
    /// By table: messages whose rows are committed or buffered.
    landed: Vec<OffsetSet>,
    /// None in a dry run.
    target: Option<Target>,
    validator: DeadLetterValidator,
    replayed: Replayed,
}

/// The tables, and the rows that wait for their commit.
struct Target {
    tables: Tables,
    buffer: Buffer,
    /// Registers the replay with the memory budget until it is dropped.
    _share: BudgetShare,
}

/// A dead letter, and its row number in the data file that is being read.
struct FileRow {
    row: u32,
    dead_letter: DeadLetter,
}

impl<'a> Attempt<'a> {
    async fn begin(
        replay: &'a Replay,
        topic: &Arc<TopicDeclaration>,
        filter: &'a Filter,
        mut dead_letters: Table,
    ) -> Result<Self, Error> {
        let into = &replay.into;
        let schemas: Vec<_> = topic
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.schema.clone()))
            .collect();
        // Opened before the offsets are read: the first commit then conflicts with every commit
        // that another process makes in between.
        let target = if replay.dry_run {
            None
        } else {
            dead_letters.remove_orphan_files().await?;
            let (budget, counters) = (&into.memory, &into.counters);
            let share = budget.register();
            Some(Target {
                tables: Tables::open(&into.lake, &topic.name, &schemas, budget, counters).await?,
                buffer: Buffer::new(schemas.len(), share.reservation()),
                _share: share,
            })
        };
        let mut landed = Vec::new();
        for (name, _) in &schemas {
            let none = OffsetSet::below(Positions::new());
            landed.push(match into.lake.snapshot(name).await? {
                Some(_) => {
                    none.read_committed(&into.session, name, &topic.name)
                        .await?
                }
                None => none,
            });
        }
        Ok(Self {
            replay,
            filter,
            validator: DeadLetterValidator::new(topic, &replay.sources, &dead_letters).await?,
            dead_letters,
            names: schemas.into_iter().map(|(name, _)| name).collect(),
            landed,
            target,
            replayed: Replayed::default(),
        })
    }

    async fn run(
        &mut self,
        progress: &(dyn Fn(&Replayed) + Sync),
    ) -> Result<RemovalOutcome, Error> {
        let all = PartitionKey::of(None, None);
        let files: Vec<DataFile> = self.dead_letters.snapshot().data_files(&all).collect();
        let mut removals = Vec::new();
        for file in files {
            let rows = self.validate_file(&file, progress).await?;
            if !rows.is_empty() {
                removals.push(Removal { file, rows });
            }
        }
        let Some(target) = &mut self.target else {
            return Ok(RemovalOutcome::Removed);
        };
        target.commit().await?;
        // Removed only after the commit of their rows: a crash in between loses nothing.
        remove_rows(&mut self.dead_letters, &removals).await
    }

    /// Validates the selected dead letters of one file, and returns the rows to remove from it.
    async fn validate_file(
        &mut self,
        file: &DataFile,
        progress: &(dyn Fn(&Replayed) + Sync),
    ) -> Result<RoaringTreemap, Error> {
        let mut removed = RoaringTreemap::new();
        let batches = self.dead_letters.rows(file).await?;
        let (mut chunk, mut bytes, mut first) = (Vec::new(), 0, 0u32);
        for batch in batches {
            let batch = batch?;
            let mask = self.filter.mask(&self.replay.into.session, &batch)?;
            let count = u32::try_from(batch.num_rows()).unwrap_or_default();
            let rows = (first..first + count).zip(mask.iter());
            let chosen = rows.filter(|(_, is_chosen)| *is_chosen == Some(true));
            let batch = filtered(&batch, &mask)?;
            for ((row, _), dead_letter) in chosen.zip(DeadLetter::read(&batch)) {
                bytes += dead_letter.value.len();
                chunk.push(FileRow { row, dead_letter });
            }
            first += count;
            if chunk.len() >= CHUNK_DEAD_LETTERS || bytes >= CHUNK_BYTES {
                self.validate_chunk(&std::mem::take(&mut chunk), &mut removed)
                    .await?;
                bytes = 0;
                progress(&self.replayed);
            }
        }
        self.validate_chunk(&chunk, &mut removed).await?;
        progress(&self.replayed);
        Ok(removed)
    }

    async fn validate_chunk(
        &mut self,
        chunk: &[FileRow],
        removed: &mut RoaringTreemap,
    ) -> Result<(), Error> {
        if chunk.is_empty() {
            return Ok(());
        }
        let dead_letters: Vec<_> = chunk.iter().map(|row| &row.dead_letter).collect();
        let ValidatedChunk { validity, rows } = self.validator.validate(&dead_letters).await?;
        self.replayed.validated += chunk.len() as u64;
        let mut well_formed = 0;
        for (FileRow { row, dead_letter }, validity) in chunk.iter().zip(validity) {
            match validity {
                Validity::WellFormed => {
                    well_formed += 1;
                    removed.insert(u64::from(*row));
                }
                Validity::Malformed => self.replayed.malformed += 1,
                // The message has landed from another source, so the dead letter is settled.
                Validity::Unknown(_) if self.has_rows(dead_letter) => {
                    well_formed += 1;
                    removed.insert(u64::from(*row));
                }
                Validity::Unknown(why) => {
                    let address = dead_letter.address();
                    self.replayed.not_validated.push((address, why));
                }
            }
        }
        let mut landed = 0;
        for rows in rows {
            landed += self.accept(rows)?;
        }
        self.replayed.landed += landed;
        self.replayed.present += well_formed - landed.min(well_formed);
        if let Some(target) = &mut self.target {
            let bytes = dead_letters
                .iter()
                .map(|dead_letter| dead_letter.value.len() as u64);
            target.buffer.add_bytes(bytes.sum());
            if target.buffer.should_commit(&self.replay.into.limits) {
                target.commit().await?;
            }
        }
        Ok(())
    }

    fn has_rows(&self, dead_letter: &DeadLetter) -> bool {
        let has = |identity| {
            self.landed
                .iter()
                .any(|landed| landed.contains_single(identity))
        };
        dead_letter.identity.is_some_and(has)
    }

    /// Adds the rows that the tables lack to the buffer, and returns the number of their messages.
    fn accept(&mut self, rows: Vec<Vec<RecordBatch>>) -> Result<u64, Error> {
        // By message: whether it is new to any table.
        let mut messages: HashMap<(i32, i64), bool> = HashMap::new();
        for (table, rows) in rows.into_iter().enumerate() {
            let mut decided = HashMap::new();
            for rows in rows {
                let mask = dedup_mask(&rows, &mut self.landed[table], &mut decided);
                let new = filter_record_batch(&rows, &mask).map_err(|source| Error::Encode {
                    table: self.names[table].clone(),
                    source: source.into(),
                })?;
                let count = self.replayed.rows.entry(self.names[table].clone());
                *count.or_default() += new.num_rows() as u64;
                if let Some(target) = &mut self.target {
                    target.buffer.push(table, new);
                }
            }
            for (identity, new) in decided {
                *messages.entry(identity).or_default() |= new;
            }
        }
        Ok(messages.values().filter(|new| **new).count() as u64)
    }
}

impl Target {
    /// Commits the buffer and waits for it. All rows of a message and a table are in one commit.
    async fn commit(&mut self) -> Result<(), Error> {
        match self.buffer.seal(&self.tables.stage()).await {
            Some(sealed) => {
                info!(rows = sealed.rows(), "committing replayed messages");
                self.tables.commit(sealed).await
            }
            None => Ok(()),
        }
    }
}

/// The rows that `mask` selects; a null selects none.
fn filtered(batch: &RecordBatch, mask: &arrow::array::BooleanArray) -> Result<RecordBatch, Error> {
    filter_record_batch(batch, mask).map_err(|source| Error::Encode {
        table: dead_letters::table_name(),
        source: source.into(),
    })
}
