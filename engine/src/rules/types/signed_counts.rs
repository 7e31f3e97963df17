//! Numbers and counts of rows are BIGINT, as in PostgreSQL.
//!
//! DataFusion's `row_number`, `rank`, `array_length` and others give unsigned numbers: the
//! difference of two may be negative and overflows then, and their quotient with a whole number is
//! not whole.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, LogicalPlan, Projection};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::utils::NamePreserver;

use crate::rules::schema_below;

#[derive(Debug)]
pub(crate) struct SignedCounts;

impl AnalyzerRule for SignedCounts {
    fn name(&self) -> &'static str {
        "signed_counts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = schema_below(&plan)?;
            let names = NamePreserver::new(&plan);
            let plan = plan.map_expressions(|expression| {
                let name = names.save(&expression);
                let signed = expression.transform_up(|part| {
                    let unsigned = matches!(&part, Expr::ScalarFunction(function)
                        if function.name() != "arrow_cast" && is_unsigned(part.get_type(&schema)));
                    Ok(if unsigned {
                        Transformed::yes(signed(part))
                    } else {
                        Transformed::no(part)
                    })
                })?;
                Ok(signed.update_data(|expression| name.restore(expression)))
            })?;
            let plan = plan.map_data(LogicalPlan::recompute_schema)?;
            plan.transform_data(with_signed_outputs)
        })?;
        Ok(plan.data)
    }
}

/// A projection above windows and aggregates, whose own expressions are functions and nothing else.
fn with_signed_outputs(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let first = match &plan {
        LogicalPlan::Window(window) => window.input.schema().fields().len(),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr_len()?,
        _ => return Ok(Transformed::no(plan)),
    };
    let outputs = plan.schema().fields().iter().skip(first);
    if !outputs
        .into_iter()
        .any(|field| field.data_type() == &DataType::UInt64)
    {
        return Ok(Transformed::no(plan));
    }
    let columns = plan.schema().iter().enumerate();
    let columns = columns.map(|(place, (relation, field))| {
        let column = Expr::from((relation, field));
        if place < first || field.data_type() != &DataType::UInt64 {
            return column;
        }
        signed(column).alias_qualified(relation.cloned(), field.name())
    });
    let projection = Projection::try_new(columns.collect(), Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// Of what has no type yet, DataFusion says what is wrong.
fn is_unsigned(data_type: Result<DataType>) -> bool {
    matches!(data_type, Ok(DataType::UInt64))
}

fn signed(value: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(value), DataType::Int64))
}
