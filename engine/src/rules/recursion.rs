//! Refuses recursive queries whose steps do not have the types that the recursion begins with.
//!
//! DataFusion casts each step to the first types: in `SELECT 1 AS n UNION ALL SELECT n + 0.5 FROM r
//! WHERE n < 3` 1.5 becomes 1 again, and the recursion never ends. PostgreSQL refuses such a query
//! as well. Casts that keep every value, or fail where they do not, are left.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ExprSchema as _;
use datafusion::common::config::ConfigOptions;
use datafusion::common::plan_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{Expr, LogicalPlan, RecursiveQuery};
use datafusion::optimizer::AnalyzerRule;

use crate::sql::recursion::STEP;

#[derive(Debug)]
pub(crate) struct RefuseChangingRecursion;

impl AnalyzerRule for RefuseChangingRecursion {
    fn name(&self) -> &str {
        "refuse_changing_recursion"
    }

    fn analyze(
        &self,
        plan: LogicalPlan,
        _options: &ConfigOptions,
    ) -> Result<LogicalPlan, DataFusionError> {
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::RecursiveQuery(query) = node {
                check(query)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}

fn check(query: &RecursiveQuery) -> Result<(), DataFusionError> {
    let begins = query.static_term.schema().fields();
    let steps = step_types(&query.recursive_term)?;
    for (field, step) in begins.iter().zip(steps) {
        let begin = field.data_type();
        if !keeps(begin, &step) {
            return plan_err!(
                "column \"{}\" of the recursive query \"{}\" begins as {begin} and its steps are {step}, \
                 which {begin} would change; CAST it to one type where the recursion begins and in the step",
                field.name(),
                query.name
            );
        }
    }
    Ok(())
}

/// The types that a step computes, before they are cast to those that the recursion begins with.
fn step_types(step: &LogicalPlan) -> Result<Vec<DataType>, DataFusionError> {
    let LogicalPlan::Projection(outer) = step else {
        return Ok(types_of(step));
    };
    if !is_marked(&outer.input) {
        return Ok(types_of(step));
    }
    let inner = outer.input.schema();
    let types = outer
        .expr
        .iter()
        .zip(step.schema().fields())
        .map(|(expression, field)| match expression.clone().unalias() {
            Expr::Cast(cast) => match cast.expr.as_ref() {
                Expr::Column(column) => Ok(inner.field_from_column(column)?.data_type().clone()),
                _ => Ok(field.data_type().clone()),
            },
            _ => Ok(field.data_type().clone()),
        });
    types.collect()
}

fn types_of(plan: &LogicalPlan) -> Vec<DataType> {
    let fields = plan.schema().fields().iter();
    fields.map(|field| field.data_type().clone()).collect()
}

fn is_marked(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::SubqueryAlias(alias) if alias.alias.table() == STEP)
}

/// Whether every value of `step` is the same as one of `begin`, or an error.
fn keeps(begin: &DataType, step: &DataType) -> bool {
    // A number that does not fit is an error of the cast, and so is one with too many digits.
    let both_integers = begin.is_integer() && step.is_integer();
    let scales = |data_type: &DataType| match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    };
    let fewer_digits =
        matches!((scales(begin), scales(step)), (Some(kept), Some(has)) if kept >= has);
    // The first instant of the day.
    let as_instant = matches!((begin, step), (DataType::Timestamp(..), DataType::Date32));
    let as_text = begin.is_string() && !step.is_nested();
    both_integers
        || fewer_digits
        || as_text
        || as_instant
        || type_union_coercion(begin, step).is_some_and(|common| common.equals_datatype(begin))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn a_step_may_have_a_type_whose_values_are_kept() {
        let check = |begin: DataType, step: DataType, expected: bool| {
            assert_eq!(keeps(&begin, &step), expected, "{begin} from {step}");
        };
        let instant = |unit| DataType::Timestamp(unit, None);
        check(DataType::Int64, DataType::Int64, true);
        check(DataType::Int32, DataType::Int64, true);
        check(DataType::Int64, DataType::Float64, false);
        check(DataType::Float64, DataType::Int64, true);
        check(DataType::Int64, DataType::Decimal128(3, 1), false);
        check(DataType::Decimal128(3, 1), DataType::Decimal128(4, 1), true);
        check(
            DataType::Decimal128(3, 1),
            DataType::Decimal128(4, 2),
            false,
        );
        check(DataType::Utf8, DataType::Int64, true);
        check(DataType::Int64, DataType::Utf8, false);
        check(DataType::Null, DataType::Int64, false);
        check(DataType::Date32, instant(TimeUnit::Microsecond), false);
        check(instant(TimeUnit::Microsecond), DataType::Date32, true);
    }
}
