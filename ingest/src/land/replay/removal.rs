//! Removes replayed rows from table `dead_letters`: one commit replaces their data files by files
//! without them.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use lake::{
    AppTransaction, CommitActions, CommitOutcome, DataFile, FencingToken, PartitionKey, Table,
    encode,
};
use roaring::RoaringTreemap;
use tracing::{info, warn};

use crate::dead_letters;
use crate::error::Error;

/// Application id of the transaction that identifies such a commit in the log.
const REPLAY: &str = "isobar/replay";
/// Attempts at the commit while landings commit to the same table.
const TRIES: usize = 15;

/// Rows to remove from one data file.
pub(super) struct Removal {
    /// The file as the table names it.
    pub(super) file: DataFile,
    /// Row numbers in the file, from 0.
    pub(super) rows: RoaringTreemap,
}

/// How [`remove_rows`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemovalOutcome {
    Removed,
    /// Another process has rewritten some of the files, so that the row numbers are not valid.
    FilesReplaced,
}

/// Removes rows from the table.
///
/// A landing may add dead letters meanwhile. It adds other files than those that are replaced here,
/// so the same change is committed on top.
pub(super) async fn remove_rows(
    table: &mut Table,
    removals: &[Removal],
) -> Result<RemovalOutcome, Error> {
    if removals.is_empty() {
        return Ok(RemovalOutcome::Removed);
    }
    let has_files = |table: &Table| {
        let snapshot = table.snapshot();
        let mut files = removals.iter().map(|removal| removal.file.path());
        files.all(|path| snapshot.has_file(path))
    };
    let mut token = FencingToken::newest(table.snapshot()).await?;
    let mut change = replace_files(table, removals).await?;
    for _ in 0..TRIES {
        if let CommitOutcome::Committed(version) = table.commit(&change).await? {
            let rows: u64 = removals.iter().map(|removal| removal.rows.len()).sum();
            info!(table = %table.name(), version, rows, "removed replayed dead letters");
            return Ok(RemovalOutcome::Removed);
        }
        if !has_files(table) {
            return Ok(RemovalOutcome::FilesReplaced);
        }
        // A removal of orphan files may have deleted the files that we stored.
        let found = FencingToken::newest(table.snapshot()).await?;
        if found != token {
            warn!(table = %table.name(), "orphan files were removed concurrently; re-uploading staged files");
            token = found;
            change = replace_files(table, removals).await?;
        }
    }
    Err(Error::TooManyConflicts {
        table: table.name().clone(),
        tries: TRIES,
    })
}

/// Stores files with the rows that stay, and returns the change that replaces the old files.
async fn replace_files(table: &Table, removals: &[Removal]) -> Result<CommitActions, Error> {
    let mut change = CommitActions {
        transactions: vec![AppTransaction::unique(REPLAY)],
        ..CommitActions::default()
    };
    for Removal { file, rows } in removals {
        change.remove.push(file.clone());
        let kept = kept_rows(table, file, rows).await?;
        if kept.is_empty() {
            continue;
        }
        let schema = table.snapshot().file_schema();
        let encoded = tokio::task::spawn_blocking(move || encode(&schema, &kept))
            .await
            .map_err(Error::Task)?
            .map_err(|source| failed(source.into()))?;
        let whole = PartitionKey::of(None, None);
        change.add.push(table.store(&whole, encoded).await?);
    }
    Ok(change)
}

async fn kept_rows(
    table: &Table,
    file: &DataFile,
    removed: &RoaringTreemap,
) -> Result<Vec<RecordBatch>, Error> {
    let mut kept = Vec::new();
    let mut first = 0u64;
    for batch in table.rows(file).await? {
        let batch = batch?;
        let next = first + batch.num_rows() as u64;
        let mask: BooleanArray = (first..next)
            .map(|row| Some(!removed.contains(row)))
            .collect();
        first = next;
        let batch = filter_record_batch(&batch, &mask).map_err(|source| failed(source.into()))?;
        if batch.num_rows() > 0 {
            kept.push(batch);
        }
    }
    Ok(kept)
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Encode {
        table: dead_letters::table_name(),
        source,
    }
}
