//! Filters go below an operator only where the names of its columns tell them apart.
//!
//! DataFusion moves the filters of a physical plan down by the names of columns, and takes the
//! first column of a name: `l RIGHT JOIN r USING (id) WHERE l.k IS NULL` asks for `r.k IS NULL`
//! where both have a column `k`. A limit is where filters stop, so one without a bound stands above
//! each operator whose columns share a name while DataFusion's rule runs.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::LocalLimitExec;

use crate::rules::PhysicalRule;

/// DataFusion's rule, or this one in its place.
pub(in crate::rules) fn replace(rule: PhysicalRule) -> PhysicalRule {
    let replaced = [
        FilterPushdown::new(),
        FilterPushdown::new_post_optimization(),
    ];
    if replaced
        .iter()
        .any(|replaced| replaced.name() == rule.name())
    {
        Arc::new(NamedFilterPushdown { inner: rule })
    } else {
        rule
    }
}

#[derive(Debug)]
struct NamedFilterPushdown {
    inner: PhysicalRule,
}

impl PhysicalOptimizerRule for NamedFilterPushdown {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_check(&self) -> bool {
        self.inner.schema_check()
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stopped = plan.transform_up(|plan| {
            if has_unique_names(&plan) {
                return Ok(Transformed::no(plan));
            }
            let stop = LocalLimitExec::new(plan, usize::MAX);
            Ok(Transformed::yes(Arc::new(stop) as _))
        })?;
        if !stopped.transformed {
            return self.inner.optimize(stopped.data, config);
        }
        let pushed = self.inner.optimize(stopped.data, config)?;
        let pushed = pushed.transform_up(|plan| match plan.downcast_ref::<LocalLimitExec>() {
            Some(stop) if stop.fetch() == usize::MAX => {
                Ok(Transformed::yes(Arc::clone(stop.input())))
            }
            _ => Ok(Transformed::no(plan)),
        });
        pushed.data()
    }
}

fn has_unique_names(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let mut names = HashSet::new();
    schema
        .fields()
        .iter()
        .all(|field| names.insert(field.name()))
}
