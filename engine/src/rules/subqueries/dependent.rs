//! A correlated subquery for every combination of values that it takes from outside.
//!
//! [`depend`] gives the plan of a subquery the columns of its domain: the result has the rows that
//! the subquery has for each row of the domain, with that row beside them. The domain enters by a
//! cross join where the plan refers to nothing outside any more; every operator above keeps its
//! columns apart (as grouping, partition or join keys). The scheme is that of Neumann and Kemper,
//! "Unnesting Arbitrary Queries" (2015).

use std::sync::Arc;

use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprFunctionExt as _, ExprSchemable as _, FetchType, Join, JoinType,
    Limit, LogicalPlan, LogicalPlanBuilder, SkipType, SortExpr, Union, lit, when,
};

use super::references::{free_references, is_correlated};
use super::{AddedNames, left_join};

/// The distinct values that a subquery takes from the rows outside.
pub(super) struct Domain {
    outer: Vec<Column>,
    values: LogicalPlan,
}

impl Domain {
    /// The values that `subquery` takes from `rows`.
    pub(super) fn new(rows: &LogicalPlan, subquery: &LogicalPlan) -> Result<Self> {
        let schema = rows.schema();
        let references = free_references(subquery)?.into_iter();
        let columns = references.map(|(_, column)| column);
        let outer: Vec<_> = columns.filter(|column| schema.has_column(column)).collect();
        let rows = unlimited(rows)?;
        if !outer.is_empty() {
            verify_repeatable(&rows)?;
        }
        let rows = LogicalPlanBuilder::from(rows);
        let values = if outer.is_empty() {
            rows
        } else {
            let columns = outer.iter().cloned().map(Expr::Column);
            rows.project(columns)?.distinct()?
        };
        let values = values.build()?;
        Ok(Self { outer, values })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outer.is_empty()
    }

    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.outer.iter().map(Column::flat_name).collect();
        names.join(", ")
    }

    /// Columns of the rows beside the columns that hold their values in a dependent plan.
    pub(super) fn keys(&self, inner: Vec<Column>) -> Vec<(Expr, Expr)> {
        let outer = self.outer.iter().cloned().map(Expr::Column);
        outer.zip(inner.into_iter().map(Expr::Column)).collect()
    }

    /// The values under new names, which no other part of the plan has.
    fn instance(&self, names: &mut AddedNames) -> Result<Dependent> {
        let named = self.outer.iter().map(|column| (column, names.next()));
        let named: Vec<_> = named.collect();
        let columns = named.iter();
        let columns = columns.map(|(column, name)| Expr::Column((*column).clone()).alias(name));
        let plan = LogicalPlanBuilder::from(self.values.clone()).project(columns)?;
        let columns = named.iter().map(|(_, name)| Column::new_unqualified(name));
        Ok((plan.build()?, columns.collect()))
    }

    /// `expr` with the columns of a dependent plan in place of references to the rows outside.
    fn bind(&self, expr: Expr, inner: &[Column]) -> Result<Expr> {
        expr.transform(|expr| {
            if let Expr::OuterReferenceColumn(_, column) = &expr
                && let Some(position) = self.outer.iter().position(|outer| outer == column)
            {
                return Ok(Transformed::yes(Expr::Column(inner[position].clone())));
            }
            Ok(Transformed::no(expr))
        })
        .data()
    }

    fn bind_all(&self, plan: &LogicalPlan, inner: &[Column]) -> Result<Vec<Expr>> {
        let preserver = NamePreserver::new(plan);
        let exprs = plan.expressions().into_iter().map(|expr| {
            let name = preserver.save(&expr);
            Ok(name.restore(self.bind(expr, inner)?))
        });
        exprs.collect()
    }
}

/// `rows` without LIMITs and volatile conditions, which may choose other rows each time they are
/// computed: more values than are needed do no harm.
fn unlimited(rows: &LogicalPlan) -> Result<LogicalPlan> {
    match rows {
        LogicalPlan::Limit(limit) => unlimited(&limit.input),
        LogicalPlan::Filter(filter) if filter.predicate.is_volatile() => unlimited(&filter.input),
        LogicalPlan::Join(join) if join.join_type != JoinType::Inner => Ok(rows.clone()),
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Sort(_) => {
            let inputs = rows.inputs().into_iter().map(unlimited);
            rows.with_new_exprs(rows.expressions(), inputs.collect::<Result<_>>()?)
        }
        other => Ok(other.clone()),
    }
}

/// That `rows` are the same when they are computed again: a subquery is joined to them by their
/// values.
fn verify_repeatable(rows: &LogicalPlan) -> Result<()> {
    rows.apply(|node| {
        let Some(volatile) = node.expressions().into_iter().find(Expr::is_volatile) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        plan_err!(
            "a subquery cannot read columns of rows that \"{volatile}\" makes anew each time; write these rows to a table with a query file, and read that table here"
        )
    })?;
    Ok(())
}

/// A plan, and the columns that it has of the domain.
type Dependent = (LogicalPlan, Vec<Column>);

/// `plan` for each row of `domain`; `None` where an operator is not supported.
pub(super) fn depend(
    plan: &LogicalPlan,
    domain: &Domain,
    names: &mut AddedNames,
) -> Result<Option<Dependent>> {
    if domain.is_empty() {
        return Ok(Some((plan.clone(), vec![])));
    }
    if !is_correlated(plan)? {
        let (values, columns) = domain.instance(names)?;
        let crossed = LogicalPlanBuilder::from(plan.clone()).cross_join(values)?;
        return Ok(Some((crossed.build()?, columns)));
    }
    match plan {
        LogicalPlan::Sort(sort) => depend(&sort.input, domain, names),
        LogicalPlan::Limit(limit) => depend_limit(limit, domain, names),
        LogicalPlan::Aggregate(aggregate) => depend_aggregate(plan, aggregate, domain, names),
        LogicalPlan::Join(join) => depend_join(join, domain, names),
        LogicalPlan::Union(union) => depend_union(plan, union, domain, names),
        LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => depend_input(plan, domain, names),
        _ => Ok(None),
    }
}

/// Operators that treat each row of their input by itself, or by partitions.
fn depend_input(
    plan: &LogicalPlan,
    domain: &Domain,
    names: &mut AddedNames,
) -> Result<Option<Dependent>> {
    let inputs = plan.inputs();
    let Some(input) = inputs.first() else {
        return Ok(None);
    };
    let Some((input, columns)) = depend(input, domain, names)? else {
        return Ok(None);
    };
    let mut exprs = domain.bind_all(plan, &columns)?;
    match plan {
        LogicalPlan::Projection(_) => exprs.extend(columns.iter().cloned().map(Expr::Column)),
        LogicalPlan::Window(_) => {
            for expr in &mut exprs {
                let name = expr.schema_name().to_string();
                if !partition_by(expr, &columns) {
                    return Ok(None);
                }
                // The name of a column would tell of its partitions.
                if !matches!(expr, Expr::Alias(_)) {
                    *expr = expr.clone().alias(name);
                }
            }
        }
        _ => {}
    }
    let dependent = plan.with_new_exprs(exprs, vec![input])?;
    let columns = match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let columns = columns.into_iter();
            let qualified = |column: Column| Column::new(Some(alias.alias.clone()), column.name);
            columns.map(qualified).collect()
        }
        _ => columns,
    };
    Ok(Some((dependent, columns)))
}

fn partition_by(expr: &mut Expr, columns: &[Column]) -> bool {
    match expr {
        Expr::Alias(alias) => partition_by(&mut alias.expr, columns),
        Expr::WindowFunction(window) => {
            let WindowFunction { params, .. } = window.as_mut();
            let columns = columns.iter().cloned().map(Expr::Column);
            params.partition_by.extend(columns);
            true
        }
        _ => false,
    }
}

/// The first rows by the order below, of each row of the domain.
fn depend_limit(
    limit: &Limit,
    domain: &Domain,
    names: &mut AddedNames,
) -> Result<Option<Dependent>> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    // What a projection leaves out may be what the rows below it are sorted by.
    if let LogicalPlan::Projection(projection) = limit.input.as_ref() {
        let below = LogicalPlan::Limit(Limit {
            input: Arc::clone(&projection.input),
            ..limit.clone()
        });
        let swapped = limit
            .input
            .with_new_exprs(projection.expr.clone(), vec![below])?;
        return depend_input(&swapped, domain, names);
    }
    let (input, order) = match limit.input.as_ref() {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), sort.expr.clone()),
        other => (other, vec![]),
    };
    let fetch = match (fetch, limit.input.as_ref()) {
        (fetch, LogicalPlan::Sort(sort)) => match (fetch, sort.fetch) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        },
        (fetch, _) => fetch,
    };
    let Some((input, columns)) = depend(input, domain, names)? else {
        return Ok(None);
    };
    let order = order.into_iter().map(|sort| {
        let expr = domain.bind(sort.expr, &columns)?;
        Ok(SortExpr::new(expr, sort.asc, sort.nulls_first))
    });
    let number = names.next();
    let numbered = row_number()
        .partition_by(columns.iter().cloned().map(Expr::Column).collect())
        .order_by(order.collect::<Result<_>>()?)
        .build()?
        .alias(&number);
    let kept = input.schema().columns().into_iter().map(Expr::Column);
    let position = Expr::Column(Column::new_unqualified(number));
    let count = |rows: usize| lit(ScalarValue::UInt64(Some(rows as u64)));
    let mut conditions = vec![position.clone().gt(count(skip))];
    if let Some(fetch) = fetch {
        conditions.push(position.lt_eq(count(skip.saturating_add(fetch))));
    }
    let kept: Vec<_> = kept.collect();
    let plan = LogicalPlanBuilder::from(input)
        .window(vec![numbered])?
        .filter(conjunction(conditions).unwrap_or_else(|| lit(true)))?
        .project(kept)?;
    Ok(Some((plan.build()?, columns)))
}

/// Groups of each row of the domain. Without groups there is a row also where there is no input.
fn depend_aggregate(
    plan: &LogicalPlan,
    aggregate: &Aggregate,
    domain: &Domain,
    names: &mut AddedNames,
) -> Result<Option<Dependent>> {
    if matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_))) {
        return Ok(None);
    }
    let Some((input, columns)) = depend(&aggregate.input, domain, names)? else {
        return Ok(None);
    };
    let exprs = domain.bind_all(plan, &columns)?;
    let (groups, aggregates) = exprs.split_at(aggregate.group_expr.len());
    let keys = columns.iter().cloned().map(Expr::Column);
    let keys: Vec<_> = groups.iter().cloned().chain(keys).collect();
    let grouped = LogicalPlanBuilder::from(input)
        .aggregate(keys, aggregates.to_vec())?
        .build()?;
    if !groups.is_empty() {
        return Ok(Some((grouped, columns)));
    }
    let (values, outer) = domain.instance(names)?;
    let outer_keys = outer.iter().cloned().map(Expr::Column);
    let on = outer_keys.zip(columns.iter().cloned().map(Expr::Column));
    let joined = left_join(values, grouped, on.collect())?;
    let mut results = Vec::with_capacity(aggregates.len() + outer.len());
    for (expr, column) in aggregate.aggr_expr.iter().zip(plan.schema().columns()) {
        let value = Expr::Column(column.clone());
        let default = default_of(expr, &aggregate.input)?;
        results.push(if default.is_null() {
            value
        } else {
            // A group that is there has counted something, so null says that there is none.
            let value = when(value.clone().is_null(), lit(default)).otherwise(value)?;
            value.alias_qualified(column.relation, column.name)
        });
    }
    results.extend(outer.iter().cloned().map(Expr::Column));
    let plan = LogicalPlanBuilder::from(joined).project(results)?;
    Ok(Some((plan.build()?, outer)))
}

/// The value of an aggregate over no rows.
fn default_of(expr: &Expr, input: &LogicalPlan) -> Result<ScalarValue> {
    match expr {
        Expr::Alias(alias) => default_of(&alias.expr, input),
        Expr::AggregateFunction(aggregate) => aggregate
            .func
            .default_value(&expr.get_type(input.schema())?),
        _ => Ok(ScalarValue::Null),
    }
}

fn depend_join(join: &Join, domain: &Domain, names: &mut AddedNames) -> Result<Option<Dependent>> {
    let needs_left = is_correlated(&join.left)?;
    let needs_right = is_correlated(&join.right)?;
    let (left_keeps, right_keeps) = match join.join_type {
        JoinType::Inner => (false, false),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (true, false)
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            (false, true)
        }
        JoinType::Full => return Ok(None),
    };
    let needs_left = needs_left || left_keeps || !(needs_right || right_keeps);
    let needs_right = needs_right || right_keeps;
    let side = |needs: bool, plan: &LogicalPlan, names: &mut AddedNames| {
        if needs {
            depend(plan, domain, names)
        } else {
            Ok(Some((plan.clone(), vec![])))
        }
    };
    let (Some((left, left_columns)), Some((right, right_columns))) = (
        side(needs_left, &join.left, names)?,
        side(needs_right, &join.right, names)?,
    ) else {
        return Ok(None);
    };
    let columns = if needs_left && !right_keeps {
        left_columns.clone()
    } else {
        right_columns.clone()
    };
    let bind = |expr: &Expr| domain.bind(expr.clone(), &columns);
    let on = join
        .on
        .iter()
        .map(|(left, right)| Ok((bind(left)?, bind(right)?)));
    let on = on.collect::<Result<Vec<_>>>()?;
    let same = left_columns
        .iter()
        .zip(&right_columns)
        .map(|(left, right)| {
            datafusion::logical_expr::binary_expr(
                Expr::Column(left.clone()),
                datafusion::logical_expr::Operator::IsNotDistinctFrom,
                Expr::Column(right.clone()),
            )
        });
    let filter = join.filter.as_ref().map(bind).transpose()?;
    let filter = conjunction(filter.into_iter().chain(same));
    let joined = LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?);
    Ok(Some((joined, columns)))
}

fn depend_union(
    plan: &LogicalPlan,
    union: &Union,
    domain: &Domain,
    names: &mut AddedNames,
) -> Result<Option<Dependent>> {
    let named: Vec<_> = domain.outer.iter().map(|_| names.next()).collect();
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let Some((dependent, columns)) = depend(input, domain, names)? else {
            return Ok(None);
        };
        let mut exprs: Vec<_> = input
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let columns = columns.into_iter().zip(&named);
        exprs.extend(columns.map(|(column, name)| Expr::Column(column).alias(name)));
        let dependent = LogicalPlanBuilder::from(dependent).project(exprs)?;
        inputs.push(Arc::new(dependent.build()?));
    }
    let union = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
    let columns: Vec<_> = named.into_iter().map(Column::new_unqualified).collect();
    let mut expected = plan
        .schema()
        .columns()
        .into_iter()
        .chain(columns.iter().cloned());
    let has_all = expected.all(|column| union.schema().has_column(&column));
    Ok(has_all.then_some((union, columns)))
}
