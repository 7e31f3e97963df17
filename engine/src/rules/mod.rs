//! Rules that repair, check or refuse what DataFusion would plan.
//!
//! Each rule is a file. Its head says what DataFusion does without it, with the upstream issue, so that the rule can be
//! deleted once a release of DataFusion has the fix.

mod checked_arithmetic;
mod float_keys;
pub(crate) mod guards;
mod join_filters;
mod number_types;
mod subqueries;
#[cfg(test)]
mod tests;
mod zero_in_lists;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::{Analyzer, AnalyzerRule, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

/// Adds our rules before and behind those of DataFusion.
pub(crate) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    let mut rules = coercion_rules();
    rules.extend(Analyzer::new().rules);
    let physical = PhysicalOptimizer::new().rules.into_iter();
    let mut builder = builder
        .with_analyzer_rules(rules)
        .with_physical_optimizer_rules(physical.map(join_filters::replace).collect());
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

/// Run on the plan of a statement as it was written, before DataFusion's type coercion.
fn coercion_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![Arc::new(number_types::NumberTypes)]
}

/// Run on the plan of a statement before it is optimised, after DataFusion's own (type coercion among them).
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        // Joins that come of subqueries have keys, comparisons and arithmetic of their own.
        Arc::new(subqueries::SubqueriesToJoins),
        Arc::new(checked_arithmetic::CheckedArithmetic),
        Arc::new(float_keys::FloatKeys),
        Arc::new(guards::Guards),
    ]
}

/// Run on the logical plan, after DataFusion's own.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(zero_in_lists::ZeroInLists),
        Arc::new(guards::LateGuards),
    ]
}

/// Run on the physical plan, after DataFusion's own.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    vec![]
}
