//! Joins that would compare more pairs of rows than anybody can wait for are refused before they
//! run.
//!
//! A forgotten join condition over two tables of a million rows is 10^12 pairs, hours of all cores.
//! The estimate is low on purpose, see [`crate::estimate`], so that what is refused is really too
//! large.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Error;
use crate::estimate::pairs_of;

/// The rule, with its limit; without one everything passes.
#[derive(Debug)]
pub(crate) struct JoinPairs {
    pairs_max: AtomicU64,
}

impl Default for JoinPairs {
    fn default() -> Self {
        Self {
            pairs_max: AtomicU64::new(u64::MAX),
        }
    }
}

impl JoinPairs {
    pub(crate) fn limit(&self, pairs_max: u64) {
        self.pairs_max.store(pairs_max, Ordering::Relaxed);
    }

    fn check(&self, join: &Arc<dyn ExecutionPlan>) -> Result<()> {
        let limit = self.pairs_max.load(Ordering::Relaxed);
        let Some(pairs) = pairs_of(join) else {
            return Ok(());
        };
        if pairs <= limit as f64 {
            return Ok(());
        }
        let [left, right] = [0, 1].map(|side| SideTables::below(join.children()[side]));
        Err(DataFusionError::External(Box::new(Error::JoinPairs {
            left: left.to_string(),
            right: right.to_string(),
            pairs: format!("{pairs:.0e}"),
            limit,
        })))
    }
}

impl PhysicalOptimizerRule for JoinPairs {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.apply(|node| {
            self.check(node)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "join_pairs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The tables that one side of a join reads.
struct SideTables(Vec<String>);

impl SideTables {
    fn below(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut names = Vec::new();
        let visited = plan.apply(|node| {
            let scan = node.downcast_ref::<DataSourceExec>();
            let files = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
            if let Some(name) = files.and_then(table_of)
                && !names.contains(&name)
            {
                names.push(name);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(visited.is_ok(), "the visitor does not fail");
        Self(names)
    }
}

/// Data files lie in `<table>/<column>=<value>/…`.
fn table_of(files: &FileScanConfig) -> Option<String> {
    let first = files
        .file_groups
        .iter()
        .find_map(|group| group.files().first())?;
    let path = first.object_meta.location.as_ref();
    let mut directories = path.rsplit('/').skip(1);
    let name = directories.find(|directory| !directory.contains('='))?;
    Some(name.to_owned())
}

impl fmt::Display for SideTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("a derived table"),
            names => write!(f, "\"{}\"", names.join("\", \"")),
        }
    }
}
