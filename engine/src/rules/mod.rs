//! Rules that repair, check or refuse what DataFusion would plan.
//!
//! Each rule is a file. Its head says what DataFusion does without it, with the upstream issue, so that the rule can be
//! deleted once a release of DataFusion has the fix.

mod subqueries;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::{AnalyzerRule, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;

/// Adds our rules behind those of DataFusion.
pub(crate) fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    for rule in analyzer_rules() {
        builder = builder.with_analyzer_rule(rule);
    }
    for rule in optimizer_rules() {
        builder = builder.with_optimizer_rule(rule);
    }
    for rule in physical_rules() {
        builder = builder.with_physical_optimizer_rule(rule);
    }
    builder
}

/// Run on the plan of a statement before it is optimised, after DataFusion's own (type coercion among them).
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![Arc::new(subqueries::SubqueriesToJoins)]
}

/// Run on the logical plan, after DataFusion's own.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![]
}

/// Run on the physical plan, after DataFusion's own.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    vec![]
}
