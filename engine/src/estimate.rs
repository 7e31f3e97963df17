//! What a plan costs, by estimate.
//!
//! Estimates are rather too low than too high: what is not known counts as unknown and not as
//! large, filters count as selective, and the keys of a join are taken to differ as much as their
//! smallest and largest value allow.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{ColumnStatistics, ScalarValue};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, IsNotNullExpr, NotExpr};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::union::UnionExec;

/// Share of the rows that a comparison with `<` or `>` leaves, and any other condition.
const RANGE_SELECTIVITY: f64 = 0.3;
const OTHER_SELECTIVITY: f64 = 0.001;

/// Rows that a small statement reads at most, and pairs that each of its joins compares.
const SMALL_ROWS: f64 = 1_000_000.0;
const SMALL_PAIRS: f64 = 10_000_000.0;

/// How much a statement computes, by estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementSize {
    /// It reads few rows, from tables alone, and joins few of them: it is known to end soon.
    Small,
    Large,
}

/// How much `plan` computes.
pub fn statement_size(plan: &Arc<dyn ExecutionPlan>) -> StatementSize {
    if is_small(plan) {
        StatementSize::Small
    } else {
        StatementSize::Large
    }
}

fn is_small(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut is_small = true;
    let visited = plan.apply(|node| {
        is_small &= if is_join(node) {
            pairs_of(node).is_some_and(|pairs| pairs <= SMALL_PAIRS)
        } else if node.is::<DataSourceExec>() {
            counted(node).is_some_and(|rows| rows <= SMALL_ROWS)
        } else {
            // Others without an input make rows: a series, a recursive query.
            !node.children().is_empty() || node.is::<PlaceholderRowExec>() || node.is::<EmptyExec>()
        };
        Ok(if is_small {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    });
    visited.is_ok() && is_small
}

fn is_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<HashJoinExec>() || plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>()
}

/// Pairs that `join` compares; nothing when it is no join or its inputs are not known.
pub(crate) fn pairs_of(join: &Arc<dyn ExecutionPlan>) -> Option<f64> {
    if join.is::<NestedLoopJoinExec>() || join.is::<CrossJoinExec>() {
        let [left, right] = [0, 1].map(|side| rows_of(join.children()[side]));
        return Some(left? * right?);
    }
    let hash = join.downcast_ref::<HashJoinExec>()?;
    let (left, right) = (rows_of(hash.left())?, rows_of(hash.right())?);
    let mut pairs = left * right;
    for (on_left, on_right) in hash.on() {
        let left = distinct_of(hash.left(), on_left)?.min(left);
        let right = distinct_of(hash.right(), on_right)?.min(right);
        pairs /= left.max(right).max(1.0);
    }
    Some(pairs)
}

/// Rows that come out of `plan`, rather too few than too many.
fn rows_of(plan: &Arc<dyn ExecutionPlan>) -> Option<f64> {
    let rows = if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        rows_of(filter.input()).map(|rows| rows * selectivity(filter.predicate()))
    } else if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let filter = scan
            .data_source()
            .downcast_ref::<FileScanConfig>()
            .and_then(|files| files.file_source().filter());
        let selectivity = filter.map_or(1.0, |filter| selectivity(&filter));
        counted(plan).map(|rows| rows * selectivity)
    } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        aggregate.group_expr().is_empty().then_some(1.0)
    } else if plan.is::<UnionExec>() {
        plan.children().into_iter().map(rows_of).sum()
    } else if plan.is::<CrossJoinExec>() {
        plan.children().into_iter().map(rows_of).product()
    } else {
        match (plan.cardinality_effect(), plan.children().as_slice()) {
            (CardinalityEffect::Equal, [input]) => rows_of(input),
            // A limit, whose number of rows stands below.
            (CardinalityEffect::LowerEqual, [input]) if plan.fetch().is_some() => rows_of(input),
            _ => None,
        }
    };
    match plan.fetch() {
        Some(fetch) => Some(rows.unwrap_or(f64::MAX).min(fetch as f64)),
        None => rows,
    }
}

fn counted(plan: &Arc<dyn ExecutionPlan>) -> Option<f64> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    let rows = statistics.ok()?.num_rows;
    rows.get_value().map(|rows| *rows as f64)
}

fn selectivity(predicate: &Arc<dyn PhysicalExpr>) -> f64 {
    let conditions = split_conjunction(predicate).into_iter();
    conditions.map(selectivity_of).product()
}

fn selectivity_of(condition: &Arc<dyn PhysicalExpr>) -> f64 {
    if collect_columns(condition).is_empty() || condition.is::<IsNotNullExpr>() {
        return 1.0;
    }
    let Some(comparison) = condition.downcast_ref::<BinaryExpr>() else {
        let keeps_most = condition.is::<NotExpr>();
        return if keeps_most {
            RANGE_SELECTIVITY
        } else {
            OTHER_SELECTIVITY
        };
    };
    let is_range = matches!(
        comparison.op(),
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq | Operator::NotEq
    );
    if is_range {
        RANGE_SELECTIVITY
    } else {
        OTHER_SELECTIVITY
    }
}

/// Most values that `key` can have, by the smallest and the largest.
fn distinct_of(plan: &Arc<dyn ExecutionPlan>, key: &Arc<dyn PhysicalExpr>) -> Option<f64> {
    let column = key.downcast_ref::<Column>()?;
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    let statistics = statistics.ok()?;
    let ends: &ColumnStatistics = statistics.column_statistics.get(column.index())?;
    let smallest = integer(&ends.min_value)?;
    let largest = integer(&ends.max_value)?;
    Some((largest - smallest).max(0.0) + 1.0)
}

fn integer(end: &Precision<ScalarValue>) -> Option<f64> {
    let value = end.get_value()?;
    let number = match value.data_type() {
        DataType::Date32 => value.cast_to(&DataType::Int32).ok()?,
        other if other.is_integer() => value.clone(),
        _ => return None,
    };
    match number.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(Some(number)) => Some(number as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use datafusion::physical_plan::work_table::WorkTableExec;

    use super::*;

    #[test]
    fn plan_that_makes_rows_of_nothing_is_not_small() {
        let schema = Arc::new(Schema::empty());
        let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&schema)));
        assert!(is_small(&empty));
        let recursive = WorkTableExec::new("recursive".to_owned(), schema, None).unwrap();
        let recursive: Arc<dyn ExecutionPlan> = Arc::new(recursive);
        assert!(!is_small(&recursive));
    }
}
