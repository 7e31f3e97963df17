//! The columns of INTERSECT and EXCEPT have the types that those of UNION have.
//!
//! DataFusion compares the two sides in a common type and returns the values of the left side as
//! they are: a BIGINT beside a DOUBLE stays a BIGINT.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, NullEquality, Result, plan_datafusion_err};
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{Cast, Expr, Join, LogicalPlan, Projection};
use datafusion::optimizer::AnalyzerRule;

use crate::rules::types::number_types::meet;

#[derive(Debug)]
pub(crate) struct SetOperations;

impl AnalyzerRule for SetOperations {
    fn name(&self) -> &'static str {
        "set_operations"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) if is_set_operation(&join) => {
                with_common_types(join).map(|join| Transformed::yes(LogicalPlan::Join(join)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }
}

/// No other join that a statement makes compares nulls as equal and returns one side.
fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.left.schema().fields().len() == join.right.schema().fields().len()
}

fn with_common_types(mut join: Join) -> Result<Join> {
    let types = |side: &LogicalPlan| -> Vec<DataType> {
        let fields = side.schema().fields().iter();
        fields.map(|field| field.data_type().clone()).collect()
    };
    let (left, right) = (types(&join.left), types(&join.right));
    if left == right {
        return Ok(join);
    }
    let common = left.iter().zip(&right).map(|(left, right)| {
        if meet([left.clone(), right.clone()]) {
            return Ok(DataType::Float64);
        }
        type_union_coercion(left, right).ok_or_else(|| {
            plan_datafusion_err!("INTERSECT and EXCEPT cannot compare {left} with {right}")
        })
    });
    let common = common.collect::<Result<Vec<_>>>()?;
    join.left = cast_to(join.left, &common)?;
    join.right = cast_to(join.right, &common)?;
    Join::try_new(
        join.left,
        join.right,
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
}

/// `side` with columns of `types` under the names that they have.
fn cast_to(side: Arc<LogicalPlan>, types: &[DataType]) -> Result<Arc<LogicalPlan>> {
    let columns = side.schema().iter().zip(types);
    let columns = columns.map(|((relation, field), data_type)| {
        let column = Expr::from((relation, field));
        if field.data_type() == data_type {
            return column;
        }
        let cast = Cast::new(Box::new(column), data_type.clone());
        Expr::Cast(cast).alias_qualified(relation.cloned(), field.name())
    });
    let projection = Projection::try_new(columns.collect(), side)?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
}
