//! The computed partitions of a run become the next version of its output table, with what they were computed from.

use tracing::info;

use super::file::QueryFile;
use super::mirror::time_of;
use super::run::{Computed, Published};
use super::staleness::Freshness;
use crate::error::Error;
use crate::lake::{AppTransaction, CommitActions, CommitOutcome, PartitionKey, Table};

/// Makes all recomputed partitions visible in one commit; `None` when there are none.
pub(super) async fn publish(
    query: &QueryFile,
    table: &mut Table,
    computed: &[Computed],
    input_ms: Option<i64>,
) -> Result<Option<CommitOutcome>, Error> {
    let changed: Vec<_> = computed
        .iter()
        .filter(|computed| matches!(computed.run.published, Published::Rows(_)))
        .collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let mut transactions = Vec::new();
    for computed in &changed {
        transactions.extend(records(query, table, computed, input_ms).await?);
    }
    // What was only rewritten is no reason for a commit, but with one its new files are remembered, so that the
    // log need not be asked again.
    for computed in computed {
        if computed.freshness == Freshness::Rewritten {
            transactions.extend(computed.input.records(&app_id(query, &computed.key)));
        }
    }
    let actions = CommitActions {
        add: changed
            .iter()
            .filter_map(|computed| computed.file.clone())
            .collect(),
        replace: changed
            .iter()
            .map(|computed| computed.key.clone())
            .collect(),
        transactions,
        ..CommitActions::default()
    };
    let outcome = table.commit(&actions).await?;
    info!(query = %query.name, table = %table.name(), partitions = changed.len(), ?outcome, "published");
    Ok(Some(outcome))
}

/// What is kept of a partition that is published: what it was computed from and, for a query with an output in
/// HBase, the time of its cells there. That is the input's, and later than that of the cells before.
async fn records(
    query: &QueryFile,
    table: &Table,
    computed: &Computed,
    input_ms: Option<i64>,
) -> Result<Vec<AppTransaction>, Error> {
    let app_id = app_id(query, &computed.key);
    let mut records = Vec::new();
    if let Some(input_ms) = input_ms {
        let app_id = time_of(&app_id);
        let before_ms = table.snapshot().transaction(&app_id).await?;
        let version = before_ms.map_or(input_ms, |before_ms| input_ms.max(before_ms + 1));
        records.push(AppTransaction { app_id, version });
    }
    records.extend(computed.input.records(&app_id));
    Ok(records)
}

/// Under which name a partition's fingerprint is kept in the log of the output table.
pub(super) fn app_id(query: &QueryFile, key: &PartitionKey) -> String {
    format!("isobar/run/{}/{}", query.name, key.first())
}
