//! Commits the computed partitions of a run to its output table, with fingerprints of their input.

use lake::{AppTransaction, CommitActions, CommitOutcome, Table};
use tracing::info;

use super::runner::{Computed, Published, Runner};
use super::staleness::Freshness;
use super::sync_hbase::{cell_time_id, record_of_current_copy};
use crate::error::Error;
use crate::query::QueryFile;

/// Makes all recomputed partitions visible in one commit; `None` when there is none.
pub(crate) async fn publish(
    runner: &Runner,
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
    // Rewritten input alone is no reason for a commit. With one, its new files are recorded too, so
    // that the next run does not search the log of the input again.
    for computed in computed {
        if computed.freshness == Freshness::Rewritten {
            transactions.extend(computed.input.records(&query.app_id(&computed.key)));
            let copy = record_of_current_copy(runner, query, table, computed).await?;
            transactions.extend(copy);
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

/// What is recorded for a published partition: the fingerprints of its input and, with an HBase
/// output, the timestamp of its cells. The timestamp is the time of the input, raised above that of
/// the previous cells when necessary, since HBase keeps the cell with the highest timestamp.
async fn records(
    query: &QueryFile,
    table: &Table,
    computed: &Computed,
    input_ms: Option<i64>,
) -> Result<Vec<AppTransaction>, Error> {
    let app_id = query.app_id(&computed.key);
    let mut records = Vec::new();
    if let Some(input_ms) = input_ms {
        let app_id = cell_time_id(&app_id);
        let before_ms = table.snapshot().transaction(&app_id).await?;
        let version = before_ms.map_or(input_ms, |before_ms| input_ms.max(before_ms + 1));
        records.push(AppTransaction { app_id, version });
    }
    records.extend(computed.input.records(&app_id));
    Ok(records)
}
