//! Landing: messages become rows of the tables that their topic declares, each exactly once.
//!
//! Blocks of lines are read and decoded side by side. One coordinator, `Landing`, takes the rows, leaves out
//! those whose message a table has already, and commits them when enough have come or enough time has passed.

mod dead_letters;
mod decode;
mod event_time;
mod landed;
pub(crate) mod transform;
mod workers;
mod writer;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use chrono_tz::Tz;
use engine::lake::{Lake, Location};
use engine::session::Session;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::landed::{Identities, Refused};
use self::workers::{Processed, Workers};
use self::writer::{Buffer, Tables};
use crate::declaration::{Declarations, IDENTITY, Topic};
use crate::error::Error;
use crate::source::files;

/// How often a watched directory is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// When what has come is committed, whichever is first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows_max: usize,
    /// Bytes of messages.
    pub bytes_max: u64,
    /// Age of the oldest row.
    pub interval: Duration,
}

/// A landing from export files.
#[derive(Debug)]
pub struct FileLanding<'a> {
    pub lake: &'a Arc<Lake>,
    pub session: &'a Session,
    pub declarations: &'a Declarations,
    /// Directory of `queries/tables`, for messages.
    pub tables: &'a std::path::Path,
    /// The topic that the files were exported from.
    pub topic: &'a str,
    pub zone: Tz,
    /// A file, or a directory of files.
    pub place: Location,
    pub limits: Limits,
    /// Whether to go on looking for new files after the present ones.
    pub watch: bool,
}

/// How far a landing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub files_done: usize,
    pub files_total: usize,
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Messages that became rows.
    pub landed: u64,
    /// Messages that became dead letters.
    pub refused: u64,
    /// Messages and dead letters that were in their tables already.
    pub skipped: u64,
    pub commits: u64,
}

/// Lands export files until they are read, or for ever when they are watched; `shutdown` commits what is in
/// hand and ends it. `progress` hears of each block.
///
/// # Errors
/// When no table is declared for the topic, there is nothing to read, or the storage fails. What was
/// committed before stays; a repeated landing skips it.
pub async fn from_files(
    files: FileLanding<'_>,
    shutdown: CancellationToken,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Progress, Error> {
    let topic = files.declarations.topic(files.topic, files.zone)?;
    let topic = Arc::new(topic.ok_or_else(|| Error::NoTables {
        topic: files.topic.to_owned(),
        tables: files.tables.to_owned(),
    })?);
    let mut seen = HashSet::new();
    // Before anything is created: a mistyped path leaves no trace.
    let mut found = files::list(&files.place).await?;
    if found.is_empty() && !files.watch {
        return Err(Error::NoFiles {
            path: files.place.to_string(),
        });
    }
    let mut landing = Landing::open(&files, Arc::clone(&topic)).await?;
    loop {
        found.retain(|file| seen.insert((file.location.clone(), file.size, file.last_modified)));
        landing.progress.files_total += found.len();
        landing.progress.bytes_total += found.iter().map(|file| file.size).sum::<u64>();
        let (workers, processed) = Workers::start(&topic, &files.place, found, &shutdown).await?;
        landing.take(processed, progress).await?;
        workers.finish().await?;
        landing.commit().await?;
        progress(&landing.progress);
        if !files.watch || shutdown.is_cancelled() {
            return Ok(landing.progress);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(landing.progress),
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        found = files::list(&files.place).await?;
    }
}

/// The coordinator: the only one who knows what has landed and who commits.
struct Landing {
    tables: Tables,
    buffer: Buffer,
    limits: Limits,
    /// By table, in the topic's order.
    landed: Vec<Identities>,
    refused: Refused,
    progress: Progress,
}

impl Landing {
    async fn open(files: &FileLanding<'_>, topic: Arc<Topic>) -> Result<Self, Error> {
        let mut schemas: Vec<_> = topic
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.schema.clone()))
            .collect();
        schemas.push((dead_letters::table_name(), dead_letters::schema()));
        let tables = Tables::open(files.lake, &schemas).await?;
        let mut landed = Vec::new();
        for table in &topic.tables {
            landed.push(Identities::of(files.session, &table.name, &topic.name).await?);
        }
        Ok(Self {
            tables,
            buffer: Buffer::new(schemas.len()),
            limits: files.limits,
            landed,
            refused: Refused::of(files.session, &topic.name).await?,
            progress: Progress::default(),
        })
    }

    /// Takes what the workers have processed until they end.
    async fn take(
        &mut self,
        mut processed: mpsc::Receiver<Result<Processed, Error>>,
        progress: &(dyn Fn(&Progress) + Sync),
    ) -> Result<(), Error> {
        loop {
            let due = self.buffer.since.map(|since| since + self.limits.interval);
            let due = due.unwrap_or_else(|| Instant::now() + self.limits.interval);
            tokio::select! {
                next = processed.recv() => match next {
                    None => return Ok(()),
                    Some(next) => {
                        self.accept(next?)?;
                        progress(&self.progress);
                    }
                },
                // A source that goes quiet must not keep its last rows from being seen.
                () = tokio::time::sleep_until(due.into()), if !self.buffer.is_empty() => {
                    self.commit().await?;
                }
            }
            if self.buffer.count >= self.limits.rows_max
                || self.buffer.bytes >= self.limits.bytes_max
            {
                self.commit().await?;
                progress(&self.progress);
            }
        }
    }

    /// Adds what is new to the buffer.
    fn accept(&mut self, processed: Processed) -> Result<(), Error> {
        self.progress.files_done += usize::from(processed.ends_file);
        self.progress.bytes_done += processed.bytes;
        self.progress.skipped += processed.repeated;
        self.buffer.weigh(processed.bytes);
        let mut verdicts: HashMap<(i32, i64), bool> = HashMap::new();
        for (table, rows) in processed.rows.into_iter().enumerate() {
            let landed = &mut self.landed[table];
            // A message may be many rows; the first of them decides for all.
            let mut claimed = HashMap::new();
            for rows in rows {
                let mask = claim(&rows, landed, &mut claimed);
                let new = filter_record_batch(&rows, &mask).map_err(|source| Error::Encode {
                    table: self.tables.name(table).clone(),
                    source: source.into(),
                })?;
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
            .filter(|letter| self.refused.insert(letter))
            .collect();
        self.progress.refused += letters_new.len() as u64;
        self.progress.skipped += letters - letters_new.len() as u64;
        if !letters_new.is_empty() {
            let rows = dead_letters::rows(&letters_new).map_err(|source| Error::Encode {
                table: dead_letters::table_name(),
                source: source.into(),
            })?;
            self.buffer.push(self.landed.len(), rows);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let sealed = self.buffer.seal();
        if self.tables.commit(sealed).await? {
            self.progress.commits += 1;
        }
        Ok(())
    }
}

/// Which of `rows` belong to messages that are new to their table.
fn claim(
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
