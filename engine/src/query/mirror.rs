//! HBase as a copy of the output table.
//!
//! What is in HBase is what was committed to the table: it is read from there, whoever computed it. A record of its
//! own says which state of a partition HBase has, so a run whose writing to HBase failed or was switched off is
//! completed by the next one, though nothing is left to compute.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::Utc;
use datafusion::logical_expr::{col, lit};
use sha2::{Digest as _, Sha256};
use tracing::info;

use super::file::{HbaseOutput, QueryFile};
use super::publish::app_id;
use super::run::{Runner, TRIES};
use crate::error::Error;
use crate::lake::{AppTransaction, CommitActions, CommitOutcome, LakeTable, PartitionKey, Table};
use crate::output::hbase::{Part, Row, Target, Writer, rows};

/// A partition whose state in the table is not the one that HBase has.
struct Stale {
    key: PartitionKey,
    timestamp_ms: i64,
    /// Stands for the state in the table and for the place in HBase.
    mark: i64,
}

impl Runner {
    /// Brings HBase up to what `table` holds of the partitions `keys`, if `query` has such an output and HBase is
    /// enabled.
    pub(super) async fn mirror(
        &self,
        query: &QueryFile,
        table: &mut Table,
        keys: &[PartitionKey],
    ) -> Result<(), Error> {
        let (Some(output), Some(target)) = (&query.header.output.hbase, &self.hbase) else {
            return Ok(());
        };
        // Written, but the record did not get in: another run may have gone ahead and written before us what
        // lies under our cells now, so its record proves nothing.
        let mut unrecorded = HashSet::new();
        for _ in 0..TRIES {
            let stale = self
                .stale(query, output, target, table, keys, &unrecorded)
                .await?;
            if stale.is_empty() {
                return Ok(());
            }
            self.write(query, output, target, table, &stale)
                .await
                .map_err(|source| Error::Mirror {
                    query: query.name.to_string(),
                    table: target.table_called(&output.table).to_owned(),
                    source: Box::new(source),
                })?;
            let transactions = stale.iter().flat_map(|stale| {
                let app_id = app_id(query, &stale.key);
                let record = |app_id, version| AppTransaction { app_id, version };
                [
                    record(time_of(&app_id), stale.timestamp_ms),
                    record(format!("{app_id}/hbase"), stale.mark),
                ]
            });
            let actions = CommitActions {
                transactions: transactions.collect(),
                ..CommitActions::default()
            };
            match table.commit(&actions).await? {
                CommitOutcome::Committed(_) => return Ok(()),
                CommitOutcome::Conflict => {
                    unrecorded.extend(stale.into_iter().map(|stale| stale.key))
                }
            }
        }
        Err(Error::RunContended {
            query: query.name.to_string(),
            tries: TRIES,
        })
    }

    async fn stale(
        &self,
        query: &QueryFile,
        output: &HbaseOutput,
        target: &Target,
        table: &Table,
        keys: &[PartitionKey],
        unrecorded: &HashSet<PartitionKey>,
    ) -> Result<Vec<Stale>, Error> {
        let snapshot = table.snapshot();
        let mut stale = Vec::new();
        for key in keys {
            let app_id = app_id(query, key);
            // Nothing was ever published of a partition that never had rows.
            let Some(fingerprint) = snapshot.transaction(&app_id).await? else {
                continue;
            };
            let mark = mark(fingerprint, output, target);
            let recorded = snapshot.transaction(&format!("{app_id}/hbase")).await?;
            if recorded == Some(mark) && !unrecorded.contains(key) {
                continue;
            }
            let timestamp_ms = match snapshot.transaction(&time_of(&app_id)).await? {
                Some(timestamp_ms) => timestamp_ms,
                None => self.input_time(query).await?,
            };
            stale.push(Stale {
                key: key.clone(),
                timestamp_ms,
                mark,
            });
        }
        Ok(stale)
    }

    async fn write(
        &self,
        query: &QueryFile,
        output: &HbaseOutput,
        target: &Target,
        table: &Table,
        stale: &[Stale],
    ) -> Result<(), Error> {
        let name = target.table_called(&output.table);
        let mut writer = Writer::open(target, name).await?;
        let values: Vec<_> = stale.iter().map(|stale| stale.key.first()).collect();
        let mut present = writer
            .present(query.header.partition.as_deref(), &values)
            .await?;
        for stale in stale {
            let part = Part {
                timestamp_ms: stale.timestamp_ms,
                rows: self.rows_of(query, output, table, &stale.key).await?,
                before: present.remove(stale.key.first()).unwrap_or_default(),
            };
            writer.publish(part).await?;
        }
        info!(query = %query.name, table = name, server = target.server(), partitions = stale.len(), "written to HBase");
        Ok(())
    }

    /// The rows that `table` holds of one partition.
    async fn rows_of(
        &self,
        query: &QueryFile,
        output: &HbaseOutput,
        table: &Table,
        key: &PartitionKey,
    ) -> Result<Vec<Row>, Error> {
        let provider = LakeTable::new(Arc::clone(table.snapshot()));
        let mut frame = self
            .session
            .context()
            .read_table(Arc::new(provider))
            .map_err(Error::plan)?;
        if let Some(column) = &query.header.partition {
            let is_of_it = col(format!("\"{column}\"")).eq(lit(key.first()));
            frame = frame.filter(is_of_it).map_err(Error::plan)?;
        }
        let (state, plan) = frame.into_parts();
        let batches = self.session.collect(state, plan).await?;
        rows(&batches, &output.row_key).map_err(|source| Error::Encode {
            query: query.name.to_string(),
            source: source.into(),
        })
    }

    /// When the newest version of the tables that `query` reads was committed, in milliseconds; now, where none of
    /// their logs says so.
    pub(super) async fn input_time(&self, query: &QueryFile) -> Result<i64, Error> {
        let mut newest_ms = None;
        for table in self.session.tables_of(&query.statement).await? {
            if let Some(snapshot) = self.lake.snapshot(&table).await? {
                newest_ms = newest_ms.max(snapshot.committed_ms());
            }
        }
        Ok(newest_ms.unwrap_or_else(|| Utc::now().timestamp_millis()))
    }
}

/// Under which name the timestamp of a partition's cells is kept.
pub(super) fn time_of(app_id: &str) -> String {
    format!("{app_id}/time")
}

/// A number that stands for what is published, which the time of the cells tells, and for its place in HBase.
fn mark(timestamp_ms: i64, output: &HbaseOutput, target: &Target) -> i64 {
    let mut hash = Sha256::new();
    hash.update(timestamp_ms.to_le_bytes());
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
