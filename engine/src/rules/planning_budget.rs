//! Refuses a plan between two rules of the optimizer after 30 seconds, or when the process holds
//! too much memory.
//!
//! The planner of DataFusion computes without a pause, so that no time limit around it can end it:
//! a client that has its answer leaves a thread that goes on. This rule changes no plan. It stands
//! between all rules of the optimizer and looks at the clock and at memory; what it refuses has
//! really ended. What comes before and behind these rules, and one long rule, are not cut short:
//! `sql::budget` bounds what they are given.

use std::fmt;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;
use crate::error::Error;
use crate::runtime::Runtime;

/// Longest time from the text of a statement to its plan.
const PLANNING_MAX: TimeDelta = TimeDelta::seconds(30);

/// Ordinary statements are planned by then, and need not look.
const LOOK_AFTER: TimeDelta = TimeDelta::seconds(1);

pub(super) struct PlanningBudget {
    runtime: Arc<Runtime>,
}

impl fmt::Debug for PlanningBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlanningBudget")
    }
}

impl PlanningBudget {
    /// `rules` with this one behind each of them.
    pub(super) fn between(rules: Vec<LogicalRule>, runtime: &Arc<Runtime>) -> Vec<LogicalRule> {
        let budget: LogicalRule = Arc::new(Self {
            runtime: Arc::clone(runtime),
        });
        let pairs = rules.into_iter().map(|rule| [rule, Arc::clone(&budget)]);
        pairs.flatten().collect()
    }
}

impl OptimizerRule for PlanningBudget {
    fn name(&self) -> &str {
        "planning_budget"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let now = Utc::now();
        let elapsed = now - config.query_execution_start_time().unwrap_or(now);
        if elapsed < LOOK_AFTER {
            return Ok(Transformed::no(plan));
        }
        let within_budget = if elapsed > PLANNING_MAX {
            Err(Error::PlanningTooLong {
                limit: PLANNING_MAX.to_std().unwrap_or_default(),
            })
        } else {
            self.runtime.require_memory()
        };
        match within_budget {
            Ok(()) => Ok(Transformed::no(plan)),
            Err(refusal) => Err(DataFusionError::External(Box::new(refusal))),
        }
    }
}
