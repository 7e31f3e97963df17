//! Rules that correct, check or refuse DataFusion's plans.
//!
//! Each rule is a file, and rules about one thing share a folder. The head of a file says what
//! DataFusion does without it, with the upstream issue, so that the rule can be deleted once a
//! release of DataFusion has the fix.

mod any_text;
mod checked_arithmetic;
pub(crate) mod conditions;
mod constant_partitions;
mod distinct_sums;
mod floats;
mod joins;
mod like_parts;
mod opaque;
mod planning_budget;
mod recursion;
mod subqueries;
#[cfg(test)]
mod tests;
mod types;
mod window_lists;
mod withheld;

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::utils::NamePreserver;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use conditions::{filter_pushdown, guards, projection_pushdown};
use floats::{float_keys, float_pruning, zero_in_lists};
use joins::cooperative_joins::CooperativeJoins;
pub(crate) use joins::join_pairs::JoinPairs;
use joins::{dynamic_filters, null_safe_joins};
pub(crate) use opaque::Opaque;
use planning_budget::PlanningBudget;
use subqueries::subquery_nulls;
use types::{
    casts, list_items, literal_sides, number_types, set_operations, signed_counts, time_types,
};

use crate::column_cache::ReadThroughCache;
use crate::runtime::Runtime;

type LogicalRule = Arc<dyn OptimizerRule + Send + Sync>;
type PhysicalRule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// Adds our rules before and behind those of DataFusion.
pub(crate) fn register(
    builder: SessionStateBuilder,
    runtime: &Arc<Runtime>,
    join_pairs: &Arc<JoinPairs>,
) -> SessionStateBuilder {
    let rules = PlanningBudget::between(rules_of_datafusion(), runtime);
    let mut builder = register_semantics(builder.with_optimizer_rules(rules));
    for rule in physical_rules(runtime, join_pairs) {
        builder = builder.with_physical_optimizer_rule(rule);
    }
    builder
}

/// Adds the rules that decide what a statement means, for a session that makes rows of messages.
pub(crate) fn register_for_rows(builder: SessionStateBuilder) -> SessionStateBuilder {
    register_semantics(builder.with_optimizer_rules(rules_of_datafusion()))
}

/// DataFusion's rules for logical plans, but for those that have one of ours in their place.
fn rules_of_datafusion() -> Vec<LogicalRule> {
    let rules = Optimizer::new().rules.into_iter();
    let rules = rules.map(distinct_sums::replace);
    rules.map(null_safe_joins::replace).collect()
}

fn register_semantics(builder: SessionStateBuilder) -> SessionStateBuilder {
    let physical = PhysicalOptimizer::new().rules.into_iter();
    let physical = physical
        .map(filter_pushdown::replace)
        .map(projection_pushdown::replace);
    let mut builder = builder
        .with_analyzer_rules(all_analyzer_rules())
        .with_physical_optimizer_rules(physical.collect());
    for rule in optimizer_rules() {
        builder = builder.with_optimizer_rule(rule);
    }
    builder
}

/// DataFusion's analyzer rules between ours.
fn all_analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = coercion_rules();
    rules.extend(Analyzer::new().rules);
    rules.extend(analyzer_rules());
    rules
}

/// Run on the plan of a statement as it was written, before DataFusion's type coercion.
fn coercion_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(signed_counts::SignedCounts),
        Arc::new(time_types::TimeTypes),
        Arc::new(number_types::NumberTypes),
        Arc::new(set_operations::SetOperations),
    ]
}

/// Run on the plan of a statement before it is optimised, after DataFusion's own (type coercion
/// among them).
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(recursion::RefuseChangingRecursion),
        Arc::new(literal_sides::LiteralSides),
        Arc::new(list_items::ListItems),
        Arc::new(subquery_nulls::SubqueryNulls),
        Arc::new(subqueries::SubqueriesToJoins),
        Arc::new(checked_arithmetic::CheckedArithmetic),
        Arc::new(float_keys::FloatKeys),
        Arc::new(guards::Guards),
        Arc::new(like_parts::LikeParts),
        Arc::new(any_text::AnyText),
        Arc::new(casts::Casts),
        Arc::new(window_lists::WindowLists),
    ]
}

/// Run on the logical plan, after DataFusion's own.
fn optimizer_rules() -> Vec<LogicalRule> {
    vec![
        Arc::new(zero_in_lists::ZeroInLists),
        Arc::new(guards::LateGuards),
    ]
}

/// Run on the physical plan, after DataFusion's own.
fn physical_rules(runtime: &Runtime, join_pairs: &Arc<JoinPairs>) -> Vec<PhysicalRule> {
    vec![
        Arc::new(float_pruning::FloatPruning),
        Arc::new(dynamic_filters::DynamicFilters),
        Arc::new(constant_partitions::ConstantPartitions),
        Arc::clone(join_pairs) as _,
        Arc::new(ReadThroughCache {
            cache: Arc::clone(runtime.column_cache()),
        }),
        // The last one: others look for the joins that it wraps.
        Arc::new(CooperativeJoins),
    ]
}

/// `plan` with what `rewrite` makes of the expressions of each of its nodes and of those of its
/// subqueries, the deepest first. It is given the columns that an expression may name. Columns that
/// are made keep their names.
fn rewrite_expressions(
    plan: LogicalPlan,
    rewrite: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let schema = schema_below(&plan)?;
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expression| {
            let name = names.save(&expression);
            let rewritten = rewrite(expression, &schema)?;
            Ok(rewritten.update_data(|expression| name.restore(expression)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(plan.data)
}

/// The columns that the expressions of `plan` may name: those of its inputs, and of a scan those of
/// its table.
fn schema_below(plan: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = plan {
        let columns = scan.source.schema();
        schema.merge(&DFSchema::try_from_qualified_schema(
            scan.table_name.clone(),
            &columns,
        )?);
    }
    Ok(schema)
}

/// Whether the value depends on the row.
fn is_variable(expression: &Expr) -> bool {
    let outer = |expression: &Expr| {
        Ok(matches!(
            expression,
            Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_)
        ))
    };
    expression.any_column_refs() || expression.exists(outer).unwrap_or(true)
}
