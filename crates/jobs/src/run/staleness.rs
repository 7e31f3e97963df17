//! Whether an output still matches its input.
//!
//! A partition of an output is stale when its input differs from the one that it was computed from:
//! the data files that the query would read, the query, its arguments, the zone of its days, or how
//! the engine understands SQL. Late rows, backfill and missed runs are thereby one case, without a
//! clock. The input is recorded with the output as one number, the fingerprint.
//!
//! Files may also differ because a compaction rewrote them and kept the rows. The log of the input
//! table shows that, as far as it reaches back, so the versions that were read are recorded as
//! well.

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
use engine::scan::LakeTable;
use lake::{AppTransaction, History, Snapshot, TableName};
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// The version of the engine's SQL semantics. A change after which the same query over the same
/// files may give another answer raises it; every partition is then stale once.
///
/// 2: literals are UTC and hold any year, a DATE plus hours keeps them, patterns of `to_char` are
/// also PostgreSQL's.
/// 3: rows are compared column by column, intervals by their lengths, percentiles are exact.
/// 4: casts to whole numbers round, counts are BIGINT, lists behind IN and outer joins keep their
/// nulls.
const SEMANTICS: u32 = 4;

/// The input of a partition of an output.
pub(crate) struct Input {
    /// Hash of the query, its arguments, the zone of its days, the ids of its tables and
    /// [`SEMANTICS`].
    definition: i64,
    /// Hash of the definition and the data files.
    fingerprint: i64,
    tables: BTreeMap<TableName, Read>,
}

/// How a query reads a table.
struct Read {
    snapshot: Arc<Snapshot>,
    /// Paths below the table, of files that partition values and statistics do not rule out.
    files: BTreeSet<String>,
    /// Values of the first partition column in these files.
    partitions: HashSet<Option<ScalarValue>>,
}

/// How the current input of a partition compares with the one that its output was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The same definition and files.
    Same,
    /// The same definition and rows in other files.
    Rewritten,
    /// Anything else.
    Stale,
}

impl Input {
    /// The input of `query`, planned as `plan`.
    pub(crate) fn of(
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

    /// What is recorded under the application id of a partition that was computed from this input.
    pub(crate) fn fingerprint(&self) -> i64 {
        self.fingerprint
    }

    /// Compares this input with the one that `output` records under `app_id`.
    pub(crate) async fn compare(
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

    /// What is recorded under `app_id` with an output that was computed from this input.
    pub(crate) fn records(&self, app_id: &str) -> Vec<AppTransaction> {
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

/// A hash of `parts`.
fn digest(parts: &[String]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // The log stores a signed number, and readers of the log may expect it not to be negative.
    i64::from_le_bytes(first) & i64::MAX
}

/// What `plan` reads of each table, by the files that its table providers select.
///
/// Taken from the optimised logical plan: a physical plan that is answered from statistics alone
/// reads no file, but still depends on all of them.
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
                // A plan may scan a table twice, and a commit in between gives the scans two
                // versions.
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
