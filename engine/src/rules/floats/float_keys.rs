//! Lets DOUBLE and REAL be grouped, joined, sorted and compared by the one order that they have
//! everywhere.
//!
//! See [`crate::functions::numbers::float_key`]: DataFusion orders by bits, so that -0.0 and 0.0,
//! or two NaNs, differ for a sort, a join, DISTINCT and window partitions. What is compared with a
//! constant stays as it is where it is a column, since files are pruned by such comparisons.
//! Intervals are sorted by their length.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, BinaryExpr, Case, InList, InSubquery, ScalarFunction, Sort,
    WindowFunction,
};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable as _, GroupingSet, Join, LogicalPlan, Operator,
    Projection, Subquery,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::utils::NamePreserver;

use crate::functions::intervals::span_length::span_length;
use crate::functions::{lists::any_equal, numbers::float_key};
use crate::rules::is_variable;

#[derive(Debug)]
pub(crate) struct FloatKeys;

impl AnalyzerRule for FloatKeys {
    fn name(&self) -> &'static str {
        "float_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(normalise)?.data)
    }
}

fn normalise(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Distinct(Distinct::All(input)) => {
            LogicalPlan::Distinct(Distinct::All(project(input, |_| true)?))
        }
        LogicalPlan::Aggregate(aggregate) => group(aggregate)?,
        LogicalPlan::Sort(mut sort) => {
            sort.expr = keys_of_order(sort.expr, sort.input.schema())?;
            LogicalPlan::Sort(sort)
        }
        LogicalPlan::Join(join) => LogicalPlan::Join(join_keys(join)?),
        other => other,
    };
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let keyed = expression.transform_up(|expression| compare(expression, &schema))?;
        Ok(keyed.update_data(|expression| name.restore(expression)))
    })?
    .map_data(LogicalPlan::recompute_schema)
}

/// `value` as a key if it is of a floating type.
fn key(value: Expr, schema: &DFSchema) -> Result<Expr> {
    let floating = value.get_type(schema)?.is_floating();
    Ok(if floating && !float_key::is_key(&value) {
        float_key::call(value)
    } else {
        value
    })
}

fn keys(values: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    values.into_iter().map(|value| key(value, schema)).collect()
}

fn keys_of_order(order: Vec<Sort>, schema: &DFSchema) -> Result<Vec<Sort>> {
    let order = order.into_iter().map(|sort| {
        let expression = match sort.expr.get_type(schema)? {
            // DataFusion compares months first, then days.
            DataType::Interval(_) => span_length(sort.expr),
            _ => key(sort.expr, schema)?,
        };
        Ok(Sort::new(expression, sort.asc, sort.nulls_first))
    });
    order.collect()
}

/// `input` with its floating columns as keys, where `wanted` says so.
fn project(input: Arc<LogicalPlan>, wanted: impl Fn(&Expr) -> bool) -> Result<Arc<LogicalPlan>> {
    let schema = Arc::clone(input.schema());
    let mut changed = false;
    let columns = schema.columns().into_iter().map(|column| {
        let expression = Expr::Column(column.clone());
        let data_type = expression.get_type(&schema)?;
        if !data_type.is_floating() || !wanted(&expression) {
            return Ok(expression);
        }
        changed = true;
        Ok(float_key::call(expression).alias_qualified(column.relation, column.name))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    if !changed {
        return Ok(input);
    }
    let projection = Projection::try_new(columns, input)?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
}

fn group(mut aggregate: Aggregate) -> Result<LogicalPlan> {
    let sets = matches!(
        aggregate.group_expr.as_slice(),
        [Expr::GroupingSet(
            GroupingSet::Rollup(_) | GroupingSet::Cube(_) | GroupingSet::GroupingSets(_)
        )]
    );
    if sets {
        // The columns of grouping sets are named by their expressions: keys are made below.
        let grouped: Vec<Expr> = match aggregate.group_expr.first() {
            Some(Expr::GroupingSet(set)) => set.distinct_expr().into_iter().cloned().collect(),
            _ => Vec::new(),
        };
        aggregate.input = project(aggregate.input, |column| grouped.contains(column))?;
        return Aggregate::try_new(aggregate.input, aggregate.group_expr, aggregate.aggr_expr)
            .map(LogicalPlan::Aggregate);
    }
    let plan = LogicalPlan::Aggregate(aggregate.clone());
    let names = NamePreserver::new(&plan);
    let schema = Arc::clone(aggregate.input.schema());
    let grouped = aggregate.group_expr.into_iter().map(|expression| {
        let name = names.save(&expression);
        Ok(name.restore(key(expression, &schema)?))
    });
    aggregate.group_expr = grouped.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Aggregate(aggregate))
}

fn join_keys(mut join: Join) -> Result<Join> {
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let pairs = join
        .on
        .into_iter()
        .map(|(left, right)| Ok((key(left, left_schema)?, key(right, right_schema)?)));
    join.on = pairs.collect::<Result<Vec<_>>>()?;
    Ok(join)
}

/// Keys within an expression.
fn compare(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(binary) => comparison(binary, schema),
        Expr::InSubquery(subquery) => in_subquery(subquery, schema),
        Expr::Between(range) => between(range, schema),
        Expr::InList(list) => in_list(list, schema),
        Expr::AggregateFunction(function) => aggregate_function(function, schema),
        Expr::WindowFunction(function) => window_function(function, schema),
        Expr::Case(case) => operand(case, schema),
        Expr::ScalarFunction(function) if function.name() == "nullif" => nullif(function, schema),
        Expr::ScalarFunction(mut function)
            if [any_equal::NAME, "greatest", "least"].contains(&function.name()) =>
        {
            function.args = keys(function.args, schema)?;
            Ok(Transformed::yes(Expr::ScalarFunction(function)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Sides that are no column may hold a NaN of either sign, and so may constants; equal columns may
/// be the keys of a join.
fn comparison(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let BinaryExpr { left, op, right } = binary;
    let equality = matches!(
        op,
        Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
    );
    let order = matches!(
        op,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    );
    let floating = left.get_type(schema)?.is_floating() && right.get_type(schema)?.is_floating();
    if !floating || !(equality || order) {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
            left,
            op,
            right,
        })));
    }
    let both = is_variable(&left) == is_variable(&right);
    let side = |side: Expr| {
        let computed = is_variable(&side) && !is_column(&side);
        if both || computed {
            key(side, schema)
        } else {
            Ok(side)
        }
    };
    let (left, right) = (Box::new(side(*left)?), Box::new(side(*right)?));
    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
        left,
        op,
        right,
    })))
}

/// A column prunes by a list of constants, which gets its second zero from
/// [`crate::rules::floats::zero_in_lists`].
fn in_list(mut list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if is_column(&list.expr) {
        return Ok(Transformed::no(Expr::InList(list)));
    }
    *list.expr = key(*list.expr, schema)?;
    list.list = keys(list.list, schema)?;
    Ok(Transformed::yes(Expr::InList(list)))
}

/// The two comparisons that it stands for.
fn between(range: Between, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if range.expr.is_volatile() {
        return plan_err!(
            "\"{}\" would be made anew for each end of BETWEEN; compute it in a subquery, and compare its column",
            range.expr
        );
    }
    if !range.expr.get_type(schema)?.is_floating() {
        return Ok(Transformed::no(Expr::Between(range)));
    }
    let compare = |op, end| {
        let binary = BinaryExpr::new(range.expr.clone(), op, end);
        comparison(binary, schema).map(|compared| compared.data)
    };
    let compared = if range.negated {
        let below = compare(Operator::Lt, range.low)?;
        below.or(compare(Operator::Gt, range.high)?)
    } else {
        let above = compare(Operator::GtEq, range.low)?;
        above.and(compare(Operator::LtEq, range.high)?)
    };
    Ok(Transformed::yes(compared))
}

/// DataFusion compares the operand of `CASE z WHEN 0.0 …` by bits.
fn operand(mut case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(operand) = case.expr.take() else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    if operand.get_type(schema)?.is_floating() {
        for (when, _) in &mut case.when_then_expr {
            **when = key(std::mem::take(when.as_mut()), schema)?;
        }
    }
    case.expr = Some(Box::new(key(*operand, schema)?));
    Ok(Transformed::yes(Expr::Case(case)))
}

/// And so it compares the arguments of `nullif`, which returns the first of them as it is.
fn nullif(function: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let [value, other] = function.args.as_slice() else {
        return Ok(Transformed::no(Expr::ScalarFunction(function)));
    };
    let data_type = value.get_type(schema)?;
    // Zeros and NaN of a volatile value are compared by their bits: a second copy of it would be
    // another value.
    if !data_type.is_floating() || value.is_volatile() {
        return Ok(Transformed::no(Expr::ScalarFunction(function)));
    }
    let equal = key(value.clone(), schema)?.eq(key(other.clone(), schema)?);
    let null = Expr::Literal(ScalarValue::try_new_null(&data_type)?, None);
    Ok(Transformed::yes(Expr::Case(Case::new(
        None,
        vec![(Box::new(equal), Box::new(null))],
        Some(Box::new(value.clone())),
    ))))
}

/// Whether the value is that of a column, in its own or a wider type: files are pruned by it.
fn is_column(expression: &Expr) -> bool {
    match expression {
        Expr::Column(_) => true,
        Expr::Cast(cast) => is_column(&cast.expr),
        _ => false,
    }
}

fn in_subquery(mut subquery: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let column = subquery.subquery.subquery.schema().field(0);
    if column.data_type() != &DataType::Float64 && column.data_type() != &DataType::Float32 {
        return Ok(Transformed::no(Expr::InSubquery(subquery)));
    }
    subquery.expr = Box::new(key(*subquery.expr, schema)?);
    subquery.subquery = Subquery {
        subquery: project(subquery.subquery.subquery, |_| true)?,
        ..subquery.subquery
    };
    Ok(Transformed::yes(Expr::InSubquery(subquery)))
}

fn aggregate_function(
    mut function: AggregateFunction,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let params = &mut function.params;
    if params.distinct {
        params.args = keys(std::mem::take(&mut params.args), schema)?;
    }
    params.order_by = keys_of_order(std::mem::take(&mut params.order_by), schema)?;
    Ok(Transformed::yes(Expr::AggregateFunction(function)))
}

fn window_function(
    mut function: Box<WindowFunction>,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let params = &mut function.params;
    if params.distinct {
        params.args = keys(std::mem::take(&mut params.args), schema)?;
    }
    params.partition_by = keys(std::mem::take(&mut params.partition_by), schema)?;
    params.order_by = keys_of_order(std::mem::take(&mut params.order_by), schema)?;
    Ok(Transformed::yes(Expr::WindowFunction(function)))
}
