//! Subqueries that DataFusion answers wrongly or refuses, as joins.
//!
//! DataFusion 55 turns a subquery into a join in two optimizer rules. Outside a plain AND of WHERE
//! they use mark joins, whose mark is never null: `x NOT IN (SELECT k …) OR …` keeps rows whose
//! answer is null (apache/datafusion#21309, #25340, #25473). They find IN and EXISTS in filters
//! alone, so both fail in a select list, in an aggregate and in CASE. A correlated subquery loses
//! rows when it is an aggregate below EXISTS, and is refused when it compares by anything but
//! equality or has a LIMIT.
//!
//! This rule takes those subqueries, and leaves the others to DataFusion. A correlated one is
//! computed once for each distinct combination of the values that it takes from outside (its
//! *domain*, see [`dependent`]), and joined to the rows by them, null meeting null.

mod dependent;
mod lateral;
mod references;
pub(in crate::rules) mod subquery_nulls;

use std::sync::Arc;

use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::common::{
    Column, DFSchema, DFSchemaRef, DataFusionError, ExprSchema as _, NullEquality, Result,
    ScalarValue, plan_err,
};
use datafusion::config::ConfigOptions;
use datafusion::functions_aggregate::count::{count, count_all};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable as _, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder,
    Subquery, binary_expr, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use self::dependent::{Domain, depend};
use self::references::{free_references, holds_lateral, is_plainly_correlated};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct SubqueriesToJoins;

impl AnalyzerRule for SubqueriesToJoins {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(refuse_outer_aggregates)?;
        let plan = unnest(plan, &mut AddedNames::default())?;
        if !holds_lateral(&plan)?
            && let Some((_, column)) = free_references(&plan)?.first()
        {
            return plan_err!(
                "a subquery refers to column {column} from a place where its rows are gone, such as ORDER BY; give the subquery a name in the select list and write that"
            );
        }
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "subqueries_to_joins"
    }
}

/// An aggregate of columns of the query outside alone belongs to that query, by the standard.
fn refuse_outer_aggregates(plan: &LogicalPlan) -> Result<TreeNodeRecursion> {
    let LogicalPlan::Aggregate(aggregate) = plan else {
        return Ok(TreeNodeRecursion::Continue);
    };
    let is_outer = |part: &Expr| Ok(matches!(part, Expr::OuterReferenceColumn(..)));
    for function in &aggregate.aggr_expr {
        if !function.any_column_refs() && function.exists(is_outer)? {
            return plan_err!(
                "\"{function}\" aggregates columns of the query outside alone, and so is an aggregate of that query; write it there, and its column in the subquery"
            );
        }
    }
    Ok(TreeNodeRecursion::Continue)
}

/// Names of columns that the rule adds; each is given out once in a plan.
#[derive(Debug, Default)]
struct AddedNames(usize);

impl AddedNames {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("__subquery_{}", self.0)
    }
}

/// Rewrites all nodes of `plan`, the deepest first.
fn unnest(plan: LogicalPlan, names: &mut AddedNames) -> Result<LogicalPlan> {
    plan.transform_up(|node| unnest_node(node, names)).data()
}

fn unnest_node(node: LogicalPlan, names: &mut AddedNames) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Join(join) = &node
        && let Some(rewritten) = lateral::unnest_lateral(join, names)?
    {
        return Ok(Transformed::yes(rewritten));
    }
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= holds_subquery(expr)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if found && let LogicalPlan::Join(join) = node {
        return unnest_join(join, names);
    }
    let inputs = node.inputs();
    let [input] = inputs[..] else {
        return Ok(Transformed::no(node));
    };
    if !found {
        return Ok(Transformed::no(node));
    }
    let place = match &node {
        LogicalPlan::Filter(_) => SubqueryPosition::Filter,
        LogicalPlan::Projection(_) => SubqueryPosition::Projection,
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_) => {
            SubqueryPosition::Other
        }
        _ => return Ok(Transformed::no(node)),
    };
    let mut rewrite = SubqueryRewrite {
        rows: input.clone(),
        input: input.clone(),
        names,
    };
    let preserver = NamePreserver::new(&node);
    let exprs = node.expressions().into_iter().map(|expr| {
        let name = preserver.save(&expr);
        let expr = rewrite.predicate_or_expr(expr, place)?;
        Ok(name.restore(expr))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let schema = Arc::clone(node.schema());
    let rewritten = node.with_new_exprs(exprs, vec![rewrite.rows])?;
    Ok(Transformed::yes(restrict(rewritten, &schema)?))
}

fn holds_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(matches!(expr, Expr::SetComparison(_)) || subquery_of(expr).is_some()))
}

/// Subqueries in the condition of an inner join filter its rows.
fn unnest_join(join: Join, names: &mut AddedNames) -> Result<Transformed<LogicalPlan>> {
    let Some(condition) = join
        .filter
        .as_ref()
        .filter(|_| join.join_type == JoinType::Inner)
    else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let (mut above, mut kept) = (vec![], vec![]);
    for conjunct in split_conjunction(condition) {
        let side = if holds_subquery(conjunct)? {
            &mut above
        } else {
            &mut kept
        };
        side.push(conjunct.clone());
    }
    let Some(above) = conjunction(above) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let joined = LogicalPlan::Join(Join {
        filter: conjunction(kept),
        ..join
    });
    let filtered = LogicalPlanBuilder::from(joined).filter(above)?.build()?;
    unnest_node(filtered, names)
}

/// `plan` without the columns that `schema` does not have.
fn restrict(plan: LogicalPlan, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    if plan.schema().fields().len() == schema.fields().len() {
        return Ok(plan);
    }
    let columns = schema.columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Where a subquery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubqueryPosition {
    /// A conjunct of WHERE or HAVING by itself: null counts as false.
    Conjunct,
    Filter,
    Projection,
    /// An aggregate, a window or a sort.
    Other,
}

/// The subquery that `expr` itself is.
fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::ScalarSubquery(subquery) => Some(subquery),
        _ => None,
    }
}

/// The expressions of one node while their subqueries become joins.
struct SubqueryRewrite<'a> {
    /// The input of the node, joined with what has been rewritten so far.
    rows: LogicalPlan,
    /// The input of the node as it was.
    input: LogicalPlan,
    names: &'a mut AddedNames,
}

impl SubqueryRewrite<'_> {
    fn predicate_or_expr(&mut self, expr: Expr, place: SubqueryPosition) -> Result<Expr> {
        if place != SubqueryPosition::Filter {
            return self.rewrite(expr, place);
        }
        let conjuncts = split_conjunction(&expr).into_iter().cloned();
        let conjuncts = conjuncts.map(|conjunct| self.conjunct(conjunct));
        let conjuncts = conjuncts.collect::<Result<Vec<_>>>()?;
        Ok(conjunction(conjuncts).unwrap_or_else(|| lit(true)))
    }

    fn conjunct(&mut self, expr: Expr) -> Result<Expr> {
        let expr = match expr {
            Expr::Not(inner) => negated(*inner),
            other => other,
        };
        let place = match subquery_of(&expr) {
            Some(_) => SubqueryPosition::Conjunct,
            None => SubqueryPosition::Filter,
        };
        self.rewrite(expr, place)
    }

    /// `expr` with columns of joins in place of the subqueries that are ours.
    fn rewrite(&mut self, expr: Expr, place: SubqueryPosition) -> Result<Expr> {
        expr.transform_up(|expr| {
            if let Expr::SetComparison(comparison) = &expr {
                let written = quantified(comparison, self.input.schema())?;
                return Ok(Transformed::yes(self.rewrite(written, place)?));
            }
            let Some(subquery) = subquery_of(&expr) else {
                return Ok(Transformed::no(expr));
            };
            let inner = unnest(subquery.subquery.as_ref().clone(), self.names)?;
            let subquery = Subquery {
                subquery: Arc::new(inner),
                ..subquery.clone()
            };
            let expr = with_subquery(expr, subquery);
            let rewritten = match &expr {
                Expr::Exists(exists) if self.is_ours(&expr, place)? => self.exists(exists)?,
                Expr::InSubquery(within) if self.is_ours(&expr, place)? => self.within(within)?,
                Expr::ScalarSubquery(scalar) if self.is_ours(&expr, place)? => {
                    self.scalar(scalar)?
                }
                _ => expr,
            };
            Ok(Transformed::yes(rewritten))
        })
        .data()
    }

    /// Whether DataFusion would answer `expr`, a subquery at `place`, wrongly or not at all.
    fn is_ours(&self, expr: &Expr, place: SubqueryPosition) -> Result<bool> {
        let Some(Subquery { subquery, .. }) = subquery_of(expr) else {
            return Ok(false);
        };
        if holds_lateral(subquery)? {
            return Ok(false);
        }
        let references = free_references(subquery)?;
        let schema = self.input.schema();
        let is_correlated = !references.is_empty();
        let is_far = references
            .iter()
            .any(|(_, column)| !schema.has_column(column));
        let is_plain = !is_far && is_plainly_correlated(subquery)?;
        Ok(match expr {
            Expr::ScalarSubquery(_) => {
                is_correlated
                    && (is_far
                        || place == SubqueryPosition::Other
                        || !references::is_plain_aggregate(subquery)?)
            }
            Expr::Exists(_) => {
                matches!(
                    place,
                    SubqueryPosition::Projection | SubqueryPosition::Other
                ) || (is_correlated && !is_plain)
            }
            Expr::InSubquery(within) => match place {
                SubqueryPosition::Projection | SubqueryPosition::Other => true,
                SubqueryPosition::Conjunct if is_correlated && !is_plain => true,
                // A null-aware anti join compares nothing but columns of both sides.
                SubqueryPosition::Conjunct if within.negated => {
                    let is_constant = within.expr.column_refs().is_empty();
                    (is_correlated || is_constant) && self.may_be_null(within)?
                }
                SubqueryPosition::Conjunct => false,
                SubqueryPosition::Filter => {
                    (is_correlated && !is_plain) || self.may_be_null(within)?
                }
            },
            _ => false,
        })
    }

    /// Whether an operand of `within`, or an element that it is looked for in, may be null.
    fn may_be_null(&self, within: &InSubquery) -> Result<bool> {
        let elements = within.subquery.subquery.schema();
        Ok(within.expr.nullable(self.rows.schema())?
            || elements.fields().iter().any(|field| field.is_nullable()))
    }

    /// The values that `inner` takes from the rows.
    fn domain(&self, inner: &LogicalPlan) -> Result<Domain> {
        Domain::new(&self.input, inner)
    }

    /// EXISTS: a mark on the values of the domain for which the subquery has a row.
    fn exists(&mut self, exists: &Exists) -> Result<Expr> {
        let inner = exists.subquery.subquery.as_ref();
        let domain = self.domain(inner)?;
        let mark = self.names.next();
        let found = if domain.is_empty() {
            let one = LogicalPlanBuilder::from(inner.clone()).limit(0, Some(1))?;
            let one = one.aggregate(Vec::<Expr>::new(), vec![count_all().alias(&mark)])?;
            self.cross(one.build()?)?;
            Expr::Column(Column::new_unqualified(&mark)).gt(lit(0_i64))
        } else {
            let (plan, keys) = self.depend(inner, &domain)?;
            let mut columns: Vec<_> = keys.iter().cloned().map(Expr::Column).collect();
            columns.push(lit(true).alias(&mark));
            let marked = LogicalPlanBuilder::from(plan)
                .project(columns)?
                .distinct()?;
            self.join(marked.build()?, domain.keys(keys))?;
            Expr::Column(Column::new_unqualified(&mark)).is_not_null()
        };
        Ok(if exists.negated { !found } else { found })
    }

    /// IN: true where an element equals the operand, else null where the operand or an element is
    /// null, else false. No element at all is false.
    fn within(&mut self, within: &InSubquery) -> Result<Expr> {
        let inner = within.subquery.subquery.as_ref();
        let operand = within.expr.as_ref();
        let may_be_null = self.may_be_null(within)?;
        let domain = self.domain(inner)?;
        let (plan, keys) = self.depend(inner, &domain)?;
        let element = Expr::Column(first_column(&plan)?);
        let name = self.names.next();
        let found = LogicalPlanBuilder::from(plan.clone()).filter(element.clone().is_not_null())?;
        let mut columns = vec![element.clone().alias(&name)];
        columns.extend(keys.iter().cloned().map(Expr::Column));
        let found = found.project(columns)?.distinct()?.build()?;
        let matched = Expr::Column(Column::new_unqualified(&name));
        let mut on = domain.keys(keys.clone());
        on.push((operand.clone(), matched.clone()));
        self.join(found, on)?;
        let mut answer = when(matched.is_not_null(), lit(!within.negated));
        if may_be_null {
            let (all, known) = self.count(plan, &element, &domain, keys)?;
            answer = answer
                .when(
                    all.clone().is_null().or(all.clone().eq(lit(0_i64))),
                    lit(within.negated),
                )
                .when(
                    operand.clone().is_null().or(known.lt(all)),
                    lit(ScalarValue::Boolean(None)),
                );
        }
        answer.otherwise(lit(within.negated))
    }

    /// How many elements there are for the values of the domain, and how many of them are not null.
    fn count(
        &mut self,
        plan: LogicalPlan,
        element: &Expr,
        domain: &Domain,
        keys: Vec<Column>,
    ) -> Result<(Expr, Expr)> {
        let (all, known) = (self.names.next(), self.names.next());
        let groups = keys.iter().map(|key| (key.clone(), self.names.next()));
        let groups: Vec<_> = groups.collect();
        let counted = LogicalPlanBuilder::from(plan).aggregate(
            keys.into_iter().map(Expr::Column),
            vec![
                count_all().alias(&all),
                count(element.clone()).alias(&known),
            ],
        )?;
        let column = |name: &String| Expr::Column(Column::new_unqualified(name));
        if domain.is_empty() {
            self.cross(counted.build()?)?;
        } else {
            let mut columns = vec![column(&all), column(&known)];
            let renamed = groups.iter();
            columns.extend(renamed.map(|(key, name)| Expr::Column(key.clone()).alias(name)));
            let renamed = groups.iter().map(|(_, name)| Column::new_unqualified(name));
            self.join(
                counted.project(columns)?.build()?,
                domain.keys(renamed.collect()),
            )?;
        }
        Ok((column(&all), column(&known)))
    }

    /// A correlated scalar subquery: its value for the values of the domain.
    fn scalar(&mut self, scalar: &Subquery) -> Result<Expr> {
        let inner = scalar.subquery.as_ref();
        if !references::is_single_row(inner) {
            return plan_err!(
                "a subquery that stands for one value and depends on the row outside must return one row for sure; aggregate it (max, min, any_value …) or give it LIMIT 1"
            );
        }
        let domain = self.domain(inner)?;
        let (plan, keys) = self.depend(inner, &domain)?;
        let name = self.names.next();
        let mut columns = vec![Expr::Column(first_column(&plan)?).alias(&name)];
        columns.extend(keys.iter().cloned().map(Expr::Column));
        let valued = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        self.join(valued, domain.keys(keys))?;
        Ok(Expr::Column(Column::new_unqualified(name)))
    }

    fn depend(
        &mut self,
        inner: &LogicalPlan,
        domain: &Domain,
    ) -> Result<(LogicalPlan, Vec<Column>)> {
        let dependent = depend(inner, domain, self.names)?;
        dependent.ok_or_else(|| {
            DataFusionError::Plan(format!(
                "a subquery refers to the row outside ({}) from a place where that is not supported; write it as a JOIN, or select those columns in the subquery and compare them outside",
                domain.names()
            ))
        })
    }

    fn cross(&mut self, plan: LogicalPlan) -> Result<()> {
        let rows = LogicalPlanBuilder::from(self.rows.clone());
        self.rows = rows.cross_join(plan)?.build()?;
        Ok(())
    }

    /// Joins what `plan` has for the keys to the rows; null meets null.
    fn join(&mut self, plan: LogicalPlan, on: Vec<(Expr, Expr)>) -> Result<()> {
        self.rows = left_join(self.rows.clone(), plan, on)?;
        Ok(())
    }
}

/// All rows of `left` with those of `right` that have the same keys, of which null is one.
fn left_join(left: LogicalPlan, right: LogicalPlan, on: Vec<(Expr, Expr)>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        JoinType::Left,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?))
}

/// `x > ANY (SELECT …)` and `x > ALL (SELECT …)` by EXISTS: decided where an element decides it,
/// else null where a comparison is null.
fn quantified(comparison: &SetComparison, schema: &DFSchema) -> Result<Expr> {
    let inner = comparison.subquery.subquery.as_ref();
    let outer = comparison
        .expr
        .as_ref()
        .clone()
        .transform_up(|expr| match expr {
            Expr::Column(column) => {
                let field = Arc::clone(schema.field_from_column(&column)?);
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            }
            other => Ok(Transformed::no(other)),
        })?;
    let element = Expr::Column(first_column(inner)?);
    let compared = binary_expr(outer.data, comparison.op, element);
    let exists = |condition: Expr| {
        let filtered = LogicalPlanBuilder::from(inner.clone())
            .filter(condition)?
            .build()?;
        let subquery = Subquery {
            outer_ref_columns: filtered.all_out_ref_exprs(),
            subquery: Arc::new(filtered),
            spans: comparison.subquery.spans.clone(),
        };
        Ok::<_, DataFusionError>(Expr::Exists(Exists::new(subquery, false)))
    };
    let (deciding, decided) = match comparison.quantifier {
        SetQuantifier::Any => (compared.clone().is_true(), true),
        SetQuantifier::All => (compared.clone().is_false(), false),
    };
    when(exists(deciding)?, lit(decided))
        .when(exists(compared.is_null())?, lit(ScalarValue::Boolean(None)))
        .otherwise(lit(!decided))
}

fn first_column(plan: &LogicalPlan) -> Result<Column> {
    match plan.schema().columns().into_iter().next() {
        Some(column) => Ok(column),
        None => plan_err!("a subquery that stands for a value has no column"),
    }
}

fn negated(expr: Expr) -> Expr {
    match expr {
        Expr::Exists(exists) => Expr::Exists(Exists {
            negated: !exists.negated,
            ..exists
        }),
        Expr::InSubquery(within) => Expr::InSubquery(InSubquery {
            negated: !within.negated,
            ..within
        }),
        other => !other,
    }
}

fn with_subquery(expr: Expr, subquery: Subquery) -> Expr {
    match expr {
        Expr::Exists(exists) => Expr::Exists(Exists { subquery, ..exists }),
        Expr::InSubquery(within) => Expr::InSubquery(InSubquery { subquery, ..within }),
        Expr::ScalarSubquery(_) => Expr::ScalarSubquery(subquery),
        other => other,
    }
}
