//! Whether an output is still that of its input.
//!
//! A partition of an output is stale when the data files its query would read, or the query, its
//! parameters or the zone of its days, differ from those it was computed from. Late rows, backfill and missed runs are thereby one case,
//! and no clock is asked. What it was computed from is one number, kept with the output.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use sha2::{Digest as _, Sha256};

use crate::lake::LakeTable;

/// A number that stands for a query, its parameters, the zone of its days and the data files it reads.
pub(super) fn fingerprint(
    query: &str,
    parameters: &[(String, String)],
    zone: Tz,
    plan: &LogicalPlan,
    state: &SessionState,
) -> Result<i64, DataFusionError> {
    let mut hash = Sha256::new();
    let mut feed = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    feed(query);
    feed(zone.name());
    for (name, value) in parameters {
        feed(name);
        feed(value);
    }
    for file in input_files(plan, state)? {
        feed(&file);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // The log keeps a signed number; readers of it may expect it not to be negative.
    Ok(i64::from_le_bytes(first) & i64::MAX)
}

/// Every data file that `plan` would read, as its tables choose them by partition and statistics.
///
/// Taken from the optimised logical plan: a physical plan that is answered from statistics alone
/// reads no file, and depends on them all the same.
fn input_files(
    plan: &LogicalPlan,
    state: &SessionState,
) -> Result<BTreeSet<String>, DataFusionError> {
    let optimized = state.optimize(plan)?;
    let mut files = BTreeSet::new();
    optimized.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            if let Some(table) = provider.downcast_ref::<LakeTable>() {
                let filters = unnormalize_cols(scan.filters.iter().cloned());
                files.extend(table.input_files(state, &filters)?);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(files)
}
