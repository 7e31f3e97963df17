//! The coordinator of a landing: leaves out what has landed, and has the rest committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use engine::lake::{Lake, TableName};
use engine::session::Session;
use tokio::sync::mpsc;

use super::landed::{Identities, Refused};
use super::workers::Processed;
use super::writer::{Buffer, Committer, Tables};
use super::{Limits, Progress, dead_letters};
use crate::declaration::{IDENTITY, Topic};
use crate::error::Error;
use crate::source::watch::Chosen;

/// The only one who knows what has landed and who commits.
pub(crate) struct Landing {
    /// Of the tables, `dead_letters` last.
    names: Vec<TableName>,
    committer: Committer,
    buffer: Buffer,
    limits: Limits,
    /// By table, in the topic's order.
    landed: Vec<Identities>,
    refused: Refused,
    progress: Progress,
}

impl Landing {
    pub(crate) async fn open(
        lake: &Arc<Lake>,
        session: &Session,
        topic: &Topic,
        limits: Limits,
    ) -> Result<Self, Error> {
        let mut schemas: Vec<_> = topic
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.schema.clone()))
            .collect();
        schemas.push((dead_letters::table_name(), dead_letters::schema()));
        // Before the identities are read: who commits in between is noticed by the first commit.
        let tables = Tables::open(lake, &topic.name, &schemas).await?;
        let mut landed = Vec::new();
        for table in &topic.tables {
            landed.push(Identities::of(session, &table.name, &topic.name).await?);
        }
        Ok(Self {
            buffer: Buffer::new(schemas.len()),
            names: schemas.into_iter().map(|(name, _)| name).collect(),
            committer: Committer::new(tables),
            limits,
            landed,
            refused: Refused::of(session, &topic.name).await?,
            progress: Progress::default(),
        })
    }

    /// Counts files that are about to be read.
    pub(crate) fn expect(&mut self, files: &[Chosen]) {
        self.progress.files_total += files.len();
        self.progress.bytes_total += files.iter().map(|file| file.meta.size).sum::<u64>();
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            commits: self.committer.commits,
            ..self.progress
        }
    }

    /// Takes what the workers have processed until they end.
    pub(crate) async fn take(
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
                        progress(&self.progress());
                    }
                },
                // A source that goes quiet must not keep its last rows from being seen.
                () = tokio::time::sleep_until(due.into()), if !self.buffer.is_empty() => {
                    self.commit().await?;
                }
                // A commit that fails is told at once, and not when the next one is due.
                finished = self.committer.finish(), if self.committer.is_busy() => finished?,
            }
            if self.buffer.count >= self.limits.rows_max
                || self.buffer.bytes >= self.limits.bytes_max
            {
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
        progress(&self.progress());
        Ok(())
    }

    /// Begins to commit what is in hand.
    async fn commit(&mut self) -> Result<(), Error> {
        match self.buffer.seal() {
            Some(sealed) => self.committer.start(sealed).await,
            None => Ok(()),
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
                    table: self.names[table].clone(),
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
