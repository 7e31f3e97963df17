//! Application transactions: the `txn` actions of a log, all read at once.
//!
//! The library looks up one application id per call and reads the log for each. A run needs as many
//! ids as it has partitions.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde::Deserialize;

use crate::error::Error;
use crate::store::Location;

/// Log entries that are read concurrently.
const READ_CONCURRENCY: usize = 8;

/// With more new log entries than this, reading the newest checkpoint is faster.
const REPLAY_ENTRIES_MAX: u64 = 100;

/// The last version recorded for each application id.
pub(crate) type Transactions = HashMap<String, i64>;

/// A line of a log entry; actions other than `txn` are ignored.
#[derive(Deserialize)]
struct Line {
    txn: Option<Txn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Txn {
    app_id: String,
    version: i64,
}

/// All application transactions in the log of `table` up to `version`. `earlier` are those up to an
/// earlier version, from which the replay continues.
///
/// `None` when the log is not an unbroken sequence of entries, from version 0 or from a checkpoint
/// in one Parquet file. Then only the library can read it.
pub(crate) async fn read(
    table: &Location,
    version: u64,
    earlier: Option<&(u64, Arc<Transactions>)>,
) -> Result<Option<Arc<Transactions>>, Error> {
    let log = table.join("_delta_log");
    if let Some((since, known)) = earlier
        && version - since <= REPLAY_ENTRIES_MAX
    {
        match replay(&log, since + 1..=version, known.as_ref().clone()).await {
            Ok(Some(all)) => return Ok(Some(Arc::new(all))),
            // Log cleanup has deleted entries behind a checkpoint, or one of them cannot be parsed.
            Ok(None)
            | Err(Error::Storage {
                source: object_store::Error::NotFound { .. },
                ..
            }) => {}
            Err(error) => return Err(error),
        }
    }
    let Some((checkpoint, entries)) = files(&log, version).await? else {
        return Ok(None);
    };
    let mut all = Transactions::new();
    if let Some(checkpoint) = checkpoint {
        let content = log
            .join(&format!("{checkpoint:020}{CHECKPOINT}"))
            .read()
            .await?;
        match tokio::task::spawn_blocking(move || of_checkpoint(content)).await {
            Ok(Ok(recorded)) => all = recorded,
            // Another tool may have written it in a form that the library reads.
            Ok(Err(_)) | Err(_) => return Ok(None),
        }
    }
    let all = replay(&log, entries, all).await?;
    Ok(all.map(Arc::new))
}

/// Replays the transactions of `entries` over `all`; `None` when an entry cannot be parsed.
async fn replay(
    log: &Location,
    entries: RangeInclusive<u64>,
    mut all: Transactions,
) -> Result<Option<Transactions>, Error> {
    let mut contents = futures::stream::iter(entries)
        .map(|entry| {
            let location = log.join(&format!("{entry:020}{ENTRY}"));
            async move { location.read().await }
        })
        .buffered(READ_CONCURRENCY);
    while let Some(content) = contents.try_next().await? {
        let Some(recorded) = of_entry(&content) else {
            return Ok(None);
        };
        all.extend(recorded);
    }
    Ok(Some(all))
}

const ENTRY: &str = ".json";
const CHECKPOINT: &str = ".checkpoint.parquet";

/// The version of the newest checkpoint up to `last` and the versions of the entries after it;
/// `None` when an entry is missing.
async fn files(
    log: &Location,
    last: u64,
) -> Result<Option<(Option<u64>, RangeInclusive<u64>)>, Error> {
    let files = log.list().await?;
    let versions = |suffix: &'static str| {
        files.iter().filter_map(move |file| {
            let version = file.location.filename()?.strip_suffix(suffix)?;
            version.parse().ok().filter(|version| *version <= last)
        })
    };
    let checkpoint: Option<u64> = versions(CHECKPOINT).max();
    let first = checkpoint.map_or(0, |checkpoint| checkpoint + 1);
    let after = versions(ENTRY).filter(|version| *version >= first);
    let is_complete = after.count() as u64 == last + 1 - first;
    Ok(is_complete.then_some((checkpoint, first..=last)))
}

/// The transactions of one commit; `None` when its entry cannot be parsed.
fn of_entry(content: &[u8]) -> Option<Vec<(String, i64)>> {
    let mut recorded = Vec::new();
    for line in serde_json::Deserializer::from_slice(content).into_iter::<Line>() {
        if let Some(txn) = line.ok()?.txn {
            recorded.push((txn.app_id, txn.version));
        }
    }
    Some(recorded)
}

/// The transactions in a checkpoint.
fn of_checkpoint(content: Bytes) -> Result<Transactions, ParquetError> {
    let absent = |what: &str| ParquetError::General(format!("the checkpoint has no {what}"));
    let file = ParquetRecordBatchReaderBuilder::try_new(content)?;
    let txn = ProjectionMask::columns(file.parquet_schema(), ["txn.appId", "txn.version"]);
    let mut all = Transactions::new();
    for batch in file.with_projection(txn).build()? {
        let batch = batch?;
        let txn = batch
            .column_by_name("txn")
            .and_then(|txn| txn.as_struct_opt());
        let txn = txn.ok_or_else(|| absent("txn"))?;
        let names = txn
            .column_by_name("appId")
            .and_then(|names| names.as_string_opt::<i32>());
        let names = names.ok_or_else(|| absent("txn.appId"))?;
        let versions = txn
            .column_by_name("version")
            .and_then(|versions| versions.as_primitive_opt::<Int64Type>());
        let versions = versions.ok_or_else(|| absent("txn.version"))?;
        let recorded = (0..txn.len()).filter(|row| txn.is_valid(*row) && names.is_valid(*row));
        all.extend(recorded.map(|row| (names.value(row).to_owned(), versions.value(row))));
    }
    Ok(all)
}
