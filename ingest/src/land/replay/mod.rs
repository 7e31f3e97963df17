//! Replay: dead letters are judged again by what is declared now. Those that are well-formed become rows of their topic's
//! tables, each once, and leave `dead_letters`.
//!
//! It is a landing whose source is the letters: it leaves the mark of one, so that a landing beside it begins anew from
//! what the tables say, and so does the replay when the landing was first. Rows are committed before their letters leave.
//! What a table has is read from its rows and not from its positions: a refused message lies before a position and has none.

mod judge;
mod removal;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use engine::lake::{DataFile, PartitionKey, Table, TableName};
use roaring::RoaringTreemap;
use tracing::{info, warn};

pub use self::judge::Roads;
use self::judge::{Judge, Judged, Verdict};
use self::removal::{Leaving, TakenOut, take_out};
use super::buffer::Buffer;
use super::dedup::{OffsetSet, dedup_mask};
use super::memory_budget::BudgetShare;
use super::tables::Tables;
use super::{Destination, dead_letters};
use crate::declaration::Topic;
use crate::error::Error;
use crate::letters::{Address, Filter, Letter};
use crate::source::Positions;

/// How often a replay begins anew because others committed meanwhile.
const TRIES: usize = 10;
/// Letters, and bytes of them, that are judged together.
const CHUNK_LETTERS: usize = 4096;
const CHUNK_BYTES: usize = 4 << 20;

/// A replay of dead letters of one topic.
#[derive(Debug)]
pub struct Replay {
    pub into: Destination,
    pub roads: Roads,
    /// Which letters; the topic is that of `roads.kafka`, whatever it says.
    pub filter: Filter,
    /// Whether only to look what would land.
    pub dry_run: bool,
}

/// What became of the letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters judged.
    pub judged: u64,
    /// Letters whose messages became rows.
    pub landed: u64,
    /// Letters whose messages had all their rows already.
    pub present: u64,
    /// Letters that are malformed still, and stay as they are.
    pub malformed: u64,
    /// Letters that stay because they cannot be judged, with the reason.
    pub unjudged: Vec<(Address, String)>,
    /// New rows by table.
    pub rows: BTreeMap<TableName, u64>,
}

/// Replays what the filter chooses. `progress` hears of each chunk.
///
/// # Errors
/// When no table is declared for the topic, the storage, Kafka or PostgreSQL fails, or others commit all the time. What was
/// committed before stays; a repeated replay goes on from there.
pub async fn replay(
    replay: Replay,
    progress: &(dyn Fn(&Replayed) + Sync),
) -> Result<Replayed, Error> {
    let topic = replay.into.topic(&replay.roads.kafka.topic)?;
    let filter = Filter {
        topic: Some(topic.name.clone()),
        ..replay.filter.clone()
    };
    let mut last = None;
    for _ in 0..TRIES {
        let Some(letters) = replay.into.lake.open(&dead_letters::table_name()).await? else {
            return Ok(Replayed::default());
        };
        let mut attempt = Attempt::begin(&replay, &topic, &filter, letters).await?;
        match attempt.run(progress).await {
            Ok(TakenOut::Done) => return Ok(attempt.replayed),
            Ok(TakenOut::Moved) => warn!("somebody else rewrote dead letters; judging them anew"),
            Err(error @ Error::Superseded { .. }) => {
                warn!("{error}");
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(Error::Contended {
        table: dead_letters::table_name(),
        tries: TRIES,
    }))
}

/// One way through the letters, from what the tables have when it begins.
struct Attempt<'a> {
    replay: &'a Replay,
    filter: &'a Filter,
    letters: Table,
    names: Vec<TableName>,
    /// By table, read from its rows.
    landed: Vec<OffsetSet>,
    /// Where rows go; nowhere when it is only looked.
    target: Option<Target>,
    judge: Judge,
    replayed: Replayed,
}

/// The tables, and rows on their way to them.
struct Target {
    tables: Tables,
    buffer: Buffer,
    _share: BudgetShare,
}

/// A letter and where it stands: its row in the data file that is being read.
struct Standing {
    row: u32,
    letter: Letter,
}

impl<'a> Attempt<'a> {
    async fn begin(
        replay: &'a Replay,
        topic: &Arc<Topic>,
        filter: &'a Filter,
        mut letters: Table,
    ) -> Result<Self, Error> {
        let into = &replay.into;
        let schemas: Vec<_> = topic
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.schema.clone()))
            .collect();
        // Before the identities are read: who commits in between is noticed by the first commit.
        let target = if replay.dry_run {
            None
        } else {
            letters.sweep().await?;
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
            judge: Judge::new(topic, &replay.roads, &letters).await?,
            letters,
            names: schemas.into_iter().map(|(name, _)| name).collect(),
            landed,
            target,
            replayed: Replayed::default(),
        })
    }

    async fn run(&mut self, progress: &(dyn Fn(&Replayed) + Sync)) -> Result<TakenOut, Error> {
        let all = PartitionKey::of(None, None);
        let files: Vec<DataFile> = self.letters.snapshot().data_files(&all).collect();
        let mut leaving = Vec::new();
        for file in files {
            let rows = self.judge_file(&file, progress).await?;
            if !rows.is_empty() {
                leaving.push(Leaving { file, rows });
            }
        }
        let Some(target) = &mut self.target else {
            return Ok(TakenOut::Done);
        };
        target.commit().await?;
        // Only now that their rows are there may the letters go.
        take_out(&mut self.letters, &leaving).await
    }

    /// Judges the chosen letters of one file; the rows of those that are to leave it.
    async fn judge_file(
        &mut self,
        file: &DataFile,
        progress: &(dyn Fn(&Replayed) + Sync),
    ) -> Result<RoaringTreemap, Error> {
        let mut leaving = RoaringTreemap::new();
        let batches = self.letters.rows(file).await?;
        let (mut chunk, mut bytes, mut first) = (Vec::new(), 0, 0u32);
        for batch in batches {
            let batch = batch?;
            let mask = self.filter.mask(&self.replay.into.session, &batch)?;
            let count = u32::try_from(batch.num_rows()).unwrap_or_default();
            let rows = (first..first + count).zip(mask.iter());
            let chosen = rows.filter(|(_, is_chosen)| *is_chosen == Some(true));
            let batch = filtered(&batch, &mask)?;
            for ((row, _), letter) in chosen.zip(Letter::read(&batch)) {
                bytes += letter.value.len();
                chunk.push(Standing { row, letter });
            }
            first += count;
            if chunk.len() >= CHUNK_LETTERS || bytes >= CHUNK_BYTES {
                self.judge_chunk(&std::mem::take(&mut chunk), &mut leaving)
                    .await?;
                bytes = 0;
                progress(&self.replayed);
            }
        }
        self.judge_chunk(&chunk, &mut leaving).await?;
        progress(&self.replayed);
        Ok(leaving)
    }

    async fn judge_chunk(
        &mut self,
        chunk: &[Standing],
        leaving: &mut RoaringTreemap,
    ) -> Result<(), Error> {
        if chunk.is_empty() {
            return Ok(());
        }
        let letters: Vec<_> = chunk.iter().map(|standing| &standing.letter).collect();
        let Judged { verdicts, rows } = self.judge.judge(&letters).await?;
        self.replayed.judged += chunk.len() as u64;
        let mut well_formed = 0;
        for (Standing { row, letter }, verdict) in chunk.iter().zip(verdicts) {
            match verdict {
                Verdict::WellFormed => {
                    well_formed += 1;
                    leaving.insert(u64::from(*row));
                }
                Verdict::Malformed => self.replayed.malformed += 1,
                // The message has come by another road, which was all that could be hoped for.
                Verdict::Unjudged(_) if self.has_rows(letter) => {
                    well_formed += 1;
                    leaving.insert(u64::from(*row));
                }
                Verdict::Unjudged(why) => {
                    let unjudged = (letter.address(), why);
                    self.replayed.unjudged.push(unjudged);
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
            let bytes = letters.iter().map(|letter| letter.value.len() as u64);
            target.buffer.add_bytes(bytes.sum());
            if target.buffer.should_commit(&self.replay.into.limits) {
                target.commit().await?;
            }
        }
        Ok(())
    }

    fn has_rows(&self, letter: &Letter) -> bool {
        let has = |identity| {
            self.landed
                .iter()
                .any(|landed| landed.contains_single(identity))
        };
        letter.identity.is_some_and(has)
    }

    /// Adds the rows that the tables lack to the buffer; how many messages they are of.
    fn accept(&mut self, rows: Vec<Vec<RecordBatch>>) -> Result<u64, Error> {
        let mut verdicts: HashMap<(i32, i64), bool> = HashMap::new();
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
                *verdicts.entry(identity).or_default() |= new;
            }
        }
        Ok(verdicts.values().filter(|new| **new).count() as u64)
    }
}

impl Target {
    /// Commits what is in hand and waits for it. All rows of a message and a table are in one commit.
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

/// The rows that `mask` chooses; a null chooses none.
fn filtered(batch: &RecordBatch, mask: &arrow::array::BooleanArray) -> Result<RecordBatch, Error> {
    filter_record_batch(batch, mask).map_err(|source| Error::Encode {
        table: dead_letters::table_name(),
        source: source.into(),
    })
}
