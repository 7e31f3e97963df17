//! Whether an output is still that of its input.
//!
//! A partition of an output is stale when the data files its query would read, or the query, its parameters, the
//! zone of its days or the engine's understanding of SQL, differ from those it was computed from. Late rows, backfill and missed runs are thereby one
//! case, and no clock is asked. What it was computed from is one number, kept with the output.
//!
//! Files may also differ because somebody rewrote them and left the rows as they were, as a compaction does. The
//! log of the table tells, as far as it reaches back; so the versions that were read are kept with the output too.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::lake::{AppTransaction, History, LakeTable, Snapshot, TableName};

/// The version of how statements are understood. It is raised when the same query over the same files may give another
/// answer; every partition is then stale once.
///
/// 2: literals are UTC and hold any year, a DATE plus hours keeps them, patterns of `to_char` are also PostgreSQL's.
/// 3: rows are compared column by column, intervals by their lengths, percentiles are exact.
/// 4: casts to whole numbers round, counts are BIGINT, lists behind IN and outer joins keep their nulls.
const SEMANTICS: u32 = 4;

/// What a partition of an output is computed from.
pub(super) struct Input {
    /// Stands for the query, its parameters, the zone of its days, the tables it reads and [`SEMANTICS`].
    definition: i64,
    /// Stands for all that and the data files.
    fingerprint: i64,
    tables: BTreeMap<TableName, Read>,
}

/// How a query reads a table.
struct Read {
    snapshot: Arc<Snapshot>,
    /// Below the table, those that partition and statistics do not rule out.
    files: BTreeSet<String>,
    /// Values of the first partition column that these files have.
    partitions: HashSet<Option<ScalarValue>>,
}

/// How the input of a partition compares with the one that its output was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Same,
    /// Other files with the same rows.
    Rewritten,
    Stale,
}

impl Input {
    /// Of `query`, planned as `plan`.
    pub(super) fn of(
        query: &str,
        parameters: &[(String, String)],
        zone: Tz,
        plan: &LogicalPlan,
        state: &SessionState,
    ) -> Result<Self, DataFusionError> {
        let tables = tables(plan, state)?;
        let semantics = format!("semantics {SEMANTICS}");
        let mut parts = vec![semantics, query.to_owned(), zone.name().to_owned()];
        for (name, value) in parameters {
            parts.extend([name.clone(), value.clone()]);
        }
        for (name, read) in &tables {
            parts.extend([name.to_string(), read.snapshot.table_id()]);
        }
        let definition = digest(&parts);
        for (name, read) in &tables {
            parts.extend(read.files.iter().map(|file| format!("{name}/{file}")));
        }
        Ok(Self {
            definition,
            fingerprint: digest(&parts),
            tables,
        })
    }

    /// Compares with what `output` has recorded under `app_id`.
    pub(super) async fn compare(
        &self,
        output: &Snapshot,
        app_id: &str,
        history: &History,
    ) -> Result<Freshness, Error> {
        let recorded = output.transaction(app_id).await?;
        if recorded == Some(self.fingerprint) {
            return Ok(Freshness::Same);
        }
        let definition = output.transaction(&definition_of(app_id)).await?;
        if definition != Some(self.definition) {
            return Ok(Freshness::Stale);
        }
        for (name, read) in &self.tables {
            let version = output.transaction(&version_of(app_id, name)).await?;
            let Some(version) = version.and_then(|version| u64::try_from(version).ok()) else {
                return Ok(Freshness::Stale);
            };
            if !history
                .is_only_rewritten(&read.snapshot, version, &read.partitions)
                .await?
            {
                return Ok(Freshness::Stale);
            }
        }
        Ok(Freshness::Rewritten)
    }

    /// What is recorded under `app_id` with an output that was computed from this.
    pub(super) fn records(&self, app_id: &str) -> Vec<AppTransaction> {
        let record = |app_id, version| AppTransaction { app_id, version };
        let versions = self.tables.iter().map(|(name, read)| {
            let version = i64::try_from(read.snapshot.version()).unwrap_or(i64::MAX);
            record(version_of(app_id, name), version)
        });
        [
            record(app_id.to_owned(), self.fingerprint),
            record(definition_of(app_id), self.definition),
        ]
        .into_iter()
        .chain(versions)
        .collect()
    }
}

fn definition_of(app_id: &str) -> String {
    format!("{app_id}/query")
}

fn version_of(app_id: &str, table: &TableName) -> String {
    format!("{app_id}/input/{table}")
}

/// A number that stands for `parts`.
fn digest(parts: &[String]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // The log keeps a signed number; readers of it may expect it not to be negative.
    i64::from_le_bytes(first) & i64::MAX
}

/// What `plan` reads of each table, as its tables choose files by partition and statistics.
///
/// Taken from the optimised logical plan: a physical plan that is answered from statistics alone
/// reads no file, and depends on them all the same.
fn tables(
    plan: &LogicalPlan,
    state: &SessionState,
) -> Result<BTreeMap<TableName, Read>, DataFusionError> {
    let optimized = state.optimize(plan)?;
    let mut tables: BTreeMap<TableName, Read> = BTreeMap::new();
    optimized.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            if let Some(table) = provider.downcast_ref::<LakeTable>() {
                let filters = unnormalize_cols(scan.filters.iter().cloned());
                let snapshot = table.snapshot();
                let read = tables
                    .entry(snapshot.name().clone())
                    .or_insert_with(|| Read {
                        snapshot: Arc::clone(snapshot),
                        files: BTreeSet::new(),
                        partitions: HashSet::new(),
                    });
                // A table may stand in a plan twice, and be committed to while that is made.
                if snapshot.version() < read.snapshot.version() {
                    read.snapshot = Arc::clone(snapshot);
                }
                for file in table.input_files(state, &filters)? {
                    read.files.insert(file.path);
                    read.partitions.insert(file.partition);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}
