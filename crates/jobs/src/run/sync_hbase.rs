//! HBase as a copy of the output table.
//!
//! The copy is read from the table, whichever run computed it. A fingerprint in the log of the
//! table records which state of a partition HBase has. When a run cannot write to HBase, or HBase
//! is disabled, a later run therefore completes the copy, even when it has nothing to compute.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::Utc;
use datafusion::logical_expr::{col, lit};
use engine::scan::LakeTable;
use lake::{AppTransaction, CommitActions, CommitOutcome, PartitionKey, Table};
use sha2::{Digest as _, Sha256};
use tracing::info;

use super::runner::{Computed, Runner, TRIES};
use crate::error::Error;
use crate::outputs::hbase::{HbaseRows, Row, Writer, rows};
use crate::outputs::{HbaseOutput, HbaseTarget};
use crate::query::QueryFile;

/// A partition whose state in the table differs from the one in HBase.
struct StalePartition {
    key: PartitionKey,
    /// Timestamp of its cells, milliseconds since the epoch.
    timestamp_ms: i64,
    /// Identifies the state in the table and the target in HBase, see [`sync_fingerprint`].
    fingerprint: i64,
}

/// The HBase output of one query, and where it is written.
#[derive(Clone, Copy)]
struct HbaseCopy<'a> {
    query: &'a QueryFile,
    output: &'a HbaseOutput,
    target: &'a HbaseTarget,
}

/// Brings HBase up to the state of the partitions `keys` in `table`, if HBase is enabled.
pub(crate) async fn sync_hbase(
    runner: &Runner,
    query: &QueryFile,
    output: &HbaseOutput,
    table: &mut Table,
    keys: &[PartitionKey],
) -> Result<(), Error> {
    let Some(target) = &runner.hbase else {
        return Ok(());
    };
    let copy = HbaseCopy {
        query,
        output,
        target,
    };
    // Partitions written to HBase whose record lost the commit race. A concurrent run may have
    // written them in between, so its record cannot be trusted: write them again.
    let mut unrecorded = HashSet::new();
    for _ in 0..TRIES {
        let stale = stale_partitions(runner, copy, table, keys, &unrecorded).await?;
        if stale.is_empty() {
            return Ok(());
        }
        write(runner, copy, table, &stale)
            .await
            .map_err(|source| Error::SyncHbase {
                query: query.name.to_string(),
                table: target.table_called(&output.table).to_owned(),
                source: Box::new(source),
            })?;
        let transactions = stale.iter().flat_map(|stale| {
            let app_id = query.app_id(&stale.key);
            let record = |app_id, version| AppTransaction { app_id, version };
            [
                record(cell_time_id(&app_id), stale.timestamp_ms),
                record(sync_id(&app_id), stale.fingerprint),
            ]
        });
        let actions = CommitActions {
            transactions: transactions.collect(),
            ..CommitActions::default()
        };
        match table.commit(&actions).await? {
            CommitOutcome::Committed(_) => return Ok(()),
            CommitOutcome::Conflict => {
                unrecorded.extend(stale.into_iter().map(|stale| stale.key));
            }
        }
    }
    Err(Error::TooManyRunConflicts {
        query: query.name.to_string(),
        tries: TRIES,
    })
}

/// The record by which HBase's copy of a partition stays current after its input was rewritten: the
/// rows are the same, but the fingerprint that [`sync_fingerprint`] hashes is another one. `None`
/// when HBase does not have the present state, or the query has no such output.
pub(crate) async fn record_of_current_copy(
    runner: &Runner,
    query: &QueryFile,
    table: &Table,
    computed: &Computed,
) -> Result<Option<AppTransaction>, Error> {
    let (Some(output), Some(target)) = (&query.header.output.hbase, &runner.hbase) else {
        return Ok(None);
    };
    let app_id = query.app_id(&computed.key);
    let snapshot = table.snapshot();
    let Some(published) = snapshot.transaction(&app_id).await? else {
        return Ok(None);
    };
    let recorded = snapshot.transaction(&sync_id(&app_id)).await?;
    let is_current = recorded == Some(sync_fingerprint(published, output, target));
    Ok(is_current.then(|| AppTransaction {
        app_id: sync_id(&app_id),
        version: sync_fingerprint(computed.input.fingerprint(), output, target),
    }))
}

/// The partitions among `keys` that have to be written to HBase.
async fn stale_partitions(
    runner: &Runner,
    copy: HbaseCopy<'_>,
    table: &Table,
    keys: &[PartitionKey],
    unrecorded: &HashSet<PartitionKey>,
) -> Result<Vec<StalePartition>, Error> {
    let snapshot = table.snapshot();
    let mut stale = Vec::new();
    for key in keys {
        let app_id = copy.query.app_id(key);
        // A partition that never had rows was never published, so HBase has none of it.
        let Some(published) = snapshot.transaction(&app_id).await? else {
            continue;
        };
        let fingerprint = sync_fingerprint(published, copy.output, copy.target);
        let recorded = snapshot.transaction(&sync_id(&app_id)).await?;
        if recorded == Some(fingerprint) && !unrecorded.contains(key) {
            continue;
        }
        let timestamp_ms = match snapshot.transaction(&cell_time_id(&app_id)).await? {
            Some(timestamp_ms) => timestamp_ms,
            None => input_time(runner, copy.query).await?,
        };
        stale.push(StalePartition {
            key: key.clone(),
            timestamp_ms,
            fingerprint,
        });
    }
    Ok(stale)
}

async fn write(
    runner: &Runner,
    copy: HbaseCopy<'_>,
    table: &Table,
    stale: &[StalePartition],
) -> Result<(), Error> {
    let HbaseCopy {
        query,
        output,
        target,
    } = copy;
    let name = target.table_called(&output.table);
    let mut writer = Writer::open(target, name).await?;
    let values: Vec<_> = stale.iter().map(|stale| stale.key.first()).collect();
    let mut existing = writer
        .existing_keys(query.header.partition.as_deref(), &values)
        .await?;
    for stale in stale {
        let partition = HbaseRows {
            timestamp_ms: stale.timestamp_ms,
            rows: rows_of(runner, query, output, table, &stale.key).await?,
            existing_keys: existing.remove(stale.key.first()).unwrap_or_default(),
        };
        writer.publish(partition).await?;
    }
    info!(query = %query.name, table = name, server = target.server(), partitions = stale.len(), "written to HBase");
    Ok(())
}

/// The rows of one partition of `table`.
async fn rows_of(
    runner: &Runner,
    query: &QueryFile,
    output: &HbaseOutput,
    table: &Table,
    key: &PartitionKey,
) -> Result<Vec<Row>, Error> {
    let provider = LakeTable::new(Arc::clone(table.snapshot()));
    let mut frame = runner
        .session
        .context()
        .read_table(Arc::new(provider))
        .map_err(engine::Error::plan)?;
    if let Some(column) = &query.header.partition {
        let in_partition = col(format!("\"{column}\"")).eq(lit(key.first()));
        frame = frame.filter(in_partition).map_err(engine::Error::plan)?;
    }
    let (state, plan) = frame.into_parts();
    let batches = runner.session.collect(state, plan).await?;
    rows(&batches, &output.row_key).map_err(|source| Error::Encode {
        query: query.name.to_string(),
        source: source.into(),
    })
}

/// When the newest version of the tables that `query` reads was committed, milliseconds since the
/// epoch; the current time when their logs do not have it.
pub(crate) async fn input_time(runner: &Runner, query: &QueryFile) -> Result<i64, Error> {
    let mut newest_ms = None;
    for table in runner.session.tables_of(&query.statement).await? {
        if let Some(snapshot) = runner.lake.snapshot(&table).await? {
            newest_ms = newest_ms.max(snapshot.committed_ms());
        }
    }
    Ok(newest_ms.unwrap_or_else(|| Utc::now().timestamp_millis()))
}

/// The application id that records the timestamp of a partition's cells.
pub(crate) fn cell_time_id(app_id: &str) -> String {
    format!("{app_id}/time")
}

/// The application id that records which state of a partition HBase has.
fn sync_id(app_id: &str) -> String {
    format!("{app_id}/hbase")
}

/// A number that identifies a published state and its target in HBase.
///
/// `published` is the fingerprint that the run recorded. The number changes with it and with the
/// server, the table and the row key, so that each of these changes leads to a new copy.
fn sync_fingerprint(published: i64, output: &HbaseOutput, target: &HbaseTarget) -> i64 {
    let mut hash = Sha256::new();
    hash.update(published.to_le_bytes());
    hash.update(target.server());
    hash.update([0]);
    hash.update(target.table_called(&output.table));
    for column in &output.row_key {
        hash.update([0]);
        hash.update(column);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(first) & i64::MAX
}
