//! Letters leave their table: the files that they stand in are written anew without them, all in one commit.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use engine::lake::{
    AppTransaction, CommitActions, CommitOutcome, DataFile, FencingToken, PartitionKey, Table,
    encode,
};
use roaring::RoaringTreemap;
use tracing::{info, warn};

use super::super::dead_letters;
use crate::error::Error;

/// Name of the marks by which such a commit is found again.
const REPLAY: &str = "isobar/replay";
/// How often the commit is tried while landings commit to the same table.
const TRIES: usize = 15;

/// Letters that are to leave.
pub(super) struct Leaving {
    pub(super) file: DataFile,
    /// Their rows in it.
    pub(super) rows: RoaringTreemap,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenOut {
    Done,
    /// Some of the files are not part of the table any more: somebody else has rewritten them.
    Moved,
}

/// Takes the letters out of their table.
///
/// A landing may add letters meanwhile. Its files are others than ours, so the same change is tried again on top.
pub(super) async fn take_out(letters: &mut Table, leaving: &[Leaving]) -> Result<TakenOut, Error> {
    if leaving.is_empty() {
        return Ok(TakenOut::Done);
    }
    let is_there = |letters: &Table| {
        let snapshot = letters.snapshot();
        let mut files = leaving.iter().map(|leaving| leaving.file.path());
        files.all(|path| snapshot.has_file(path))
    };
    let mut sweep = FencingToken::newest(letters.snapshot()).await?;
    let mut change = rewritten(letters, leaving).await?;
    for _ in 0..TRIES {
        if let CommitOutcome::Committed(version) = letters.commit(&change).await? {
            let taken: u64 = leaving.iter().map(|leaving| leaving.rows.len()).sum();
            info!(table = %letters.name(), version, letters = taken, "letters have left");
            return Ok(TakenOut::Done);
        }
        if !is_there(letters) {
            return Ok(TakenOut::Moved);
        }
        // A sweep may have taken what we have stored and not committed.
        let swept = FencingToken::newest(letters.snapshot()).await?;
        if swept != sweep {
            warn!(table = %letters.name(), "orphan files were removed concurrently; re-uploading staged files");
            sweep = swept;
            change = rewritten(letters, leaving).await?;
        }
    }
    Err(Error::Contended {
        table: letters.name().clone(),
        tries: TRIES,
    })
}

/// Stores what stays of the files, and gives the change that puts it in their place.
async fn rewritten(letters: &Table, leaving: &[Leaving]) -> Result<CommitActions, Error> {
    let mut change = CommitActions {
        transactions: vec![AppTransaction::unique(REPLAY)],
        ..CommitActions::default()
    };
    for Leaving { file, rows } in leaving {
        change.remove.push(file.clone());
        let staying = staying(letters, file, rows).await?;
        if staying.is_empty() {
            continue;
        }
        let schema = letters.snapshot().file_schema();
        let encoded = tokio::task::spawn_blocking(move || encode(&schema, &staying))
            .await
            .map_err(Error::Task)?
            .map_err(|source| failed(source.into()))?;
        let whole = PartitionKey::of(None, None);
        change.add.push(letters.store(&whole, encoded).await?);
    }
    Ok(change)
}

async fn staying(
    letters: &Table,
    file: &DataFile,
    leaving: &RoaringTreemap,
) -> Result<Vec<RecordBatch>, Error> {
    let mut staying = Vec::new();
    let mut first = 0u64;
    for batch in letters.rows(file).await? {
        let batch = batch?;
        let next = first + batch.num_rows() as u64;
        let mask: BooleanArray = (first..next)
            .map(|row| Some(!leaving.contains(row)))
            .collect();
        first = next;
        let batch = filter_record_batch(&batch, &mask).map_err(|source| failed(source.into()))?;
        if batch.num_rows() > 0 {
            staying.push(batch);
        }
    }
    Ok(staying)
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Encode {
        table: dead_letters::table_name(),
        source,
    }
}
