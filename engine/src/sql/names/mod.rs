//! Names of columns as the SQL standard reads them, written out so that the planner cannot misread
//! them.
//!
//! DataFusion 55 takes the column of `FULL JOIN … USING` from the left side alone, where it is null
//! for rows of the right one (apache/datafusion#22881), and that of `RIGHT JOIN … USING` too. It
//! refuses two columns of one name in a select list, and silently renames the second one of a
//! subquery (`a:1`).
//!
//! [`resolve`] rewrites a parsed statement: joins by names become ON, the unqualified name of their
//! column becomes the expression that it stands for, `*` is written out, and columns that share a
//! name get names of their own, which [`Resolved::restore`] takes back from the result. A reference
//! to a name that several columns have is refused.

mod joins;
mod plan;
mod scope;
mod select;

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as PlanResult, TableReference};
use datafusion::logical_expr::{Expr as Planned, LogicalPlan, LogicalPlanBuilder};

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy, OrderByKind, Query,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins, Visit, VisitMut,
    Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

pub(in crate::sql) use self::joins::call;
pub(crate) use self::plan::plan;
pub(in crate::sql) use self::scope::normalized;
use self::scope::{From, Meaning, Named, Relation, parts};
use super::{statement_in, statement_of};

/// The columns of the tables that a statement reads, by the parts of the names that it uses.
type Tables = HashMap<Vec<String>, Vec<String>>;

/// Why a statement was not rewritten.
#[derive(Debug)]
enum Failure {
    /// It uses something whose columns are not known here.
    Unsupported,
    /// It is wrong: why, and where.
    Refused(String, Span),
}

fn ambiguous(name: &Ident) -> Failure {
    let message = format!(
        "\"{}\" is ambiguous: several columns have this name; give each an alias of its own, or write the table before it",
        name.value
    );
    Failure::Refused(message, name.span)
}

/// A rewritten statement.
#[derive(Debug)]
struct Resolved {
    parsed: Parsed,
    /// Names given here beside those they stand for; `None` is one that the planner makes of the
    /// expression.
    given: HashMap<String, Option<String>>,
}

impl Resolved {
    /// `plan`, which was made of this statement, with the column names of the statement.
    fn restore(&self, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        let mut fields = plan.schema().fields().iter();
        if !fields.any(|field| self.given.contains_key(field.name())) {
            return Ok(plan);
        }
        let made = self.made_names(&plan)?;
        let columns = plan.schema().columns().into_iter().enumerate();
        let columns = columns.map(|(position, column)| {
            let name = self.visible(&column.name, &made);
            // A schema takes equal names where their qualifiers differ; nothing prints qualifiers.
            let qualifier = TableReference::bare((position + 1).to_string());
            Planned::Column(column).alias_qualified(Some(qualifier), name)
        });
        let columns: Vec<_> = columns.collect();
        LogicalPlanBuilder::from(plan).project(columns)?.build()
    }

    /// What the planner calls the expressions that were given a name.
    fn made_names(&self, plan: &LogicalPlan) -> PlanResult<HashMap<String, String>> {
        let mut made = HashMap::new();
        plan.apply(|node| {
            node.apply_expressions(|expr| {
                if let Planned::Alias(alias) = expr
                    && let Some(None) = self.given.get(&alias.name)
                {
                    let name = match alias.expr.as_ref() {
                        Planned::Column(column) => column.name.clone(),
                        other => other.schema_name().to_string(),
                    };
                    made.entry(alias.name.clone()).or_insert(name);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(made)
    }

    fn visible(&self, name: &str, made: &HashMap<String, String>) -> String {
        match self.given.get(name) {
            Some(Some(visible)) => visible.clone(),
            Some(None) => match made.get(name) {
                Some(made_of) => self.visible(made_of, made),
                None => name.to_owned(),
            },
            None => name.to_owned(),
        }
    }
}

/// Whether the planner has refused a statement for names that are equal, or for an expression that
/// ORDER BY names by its place.
fn is_about_names(error: &DataFusionError) -> bool {
    let text = error.to_string();
    [
        "Column in ORDER BY",
        "unique expression name",
        "duplicate",
        "ambiguous",
        "Ambiguous",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// Whether the planner has renamed a column of a subquery because of another one of its name, to
/// `a:1`.
fn has_renamed(plan: &LogicalPlan) -> PlanResult<bool> {
    plan.exists(|node| {
        let LogicalPlan::SubqueryAlias(alias) = node else {
            return Ok(false);
        };
        let fields = alias.schema.fields();
        let mut names = fields.iter().map(|field| field.name());
        Ok(names.any(|name| {
            let renamed = name.rsplit_once(':');
            renamed.is_some_and(|(name, number)| {
                number.parse::<usize>().is_ok() && fields.iter().any(|field| field.name() == name)
            })
        }))
    })
}

/// Names of tables that `parsed` mentions, by their parts; CTEs among them.
fn tables(parsed: &Parsed) -> BTreeSet<Vec<String>> {
    struct Found(BTreeSet<Vec<String>>);
    impl Visitor for Found {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            self.0.extend(parts(relation));
            ControlFlow::Continue(())
        }
    }
    let mut found = Found(BTreeSet::new());
    if let Some(statement) = statement_of(parsed) {
        let _ = statement.visit(&mut found);
    }
    found.0
}

/// Whether `parsed` has an outer join by names, whose columns the planner misreads.
fn joins_by_name(parsed: &Parsed) -> bool {
    struct Joins;
    impl Visitor for Joins {
        type Break = ();
        fn pre_visit_select(
            &mut self,
            select: &datafusion::sql::sqlparser::ast::Select,
        ) -> ControlFlow<()> {
            match select.from.iter().any(is_by_name) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            match factor {
                TableFactor::NestedJoin {
                    table_with_joins, ..
                } if is_by_name(table_with_joins) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    fn is_by_name(table: &TableWithJoins) -> bool {
        table.joins.iter().any(|join| {
            let (JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)) = &join.join_operator
            else {
                return false;
            };
            matches!(
                constraint,
                JoinConstraint::Using(_) | JoinConstraint::Natural
            )
        })
    }
    statement_of(parsed).is_some_and(|statement| statement.visit(&mut Joins).is_break())
}

/// Whether an expression in an ORDER BY of `parsed` has a name that the select list gives to
/// something else: the planner takes that column for it, where a column of the FROM of this name is
/// meant.
fn orders_by_alias(parsed: &Parsed) -> bool {
    struct Orders;
    impl Visitor for Orders {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let SetExpr::Select(select) = query.body.as_ref() else {
                return ControlFlow::Continue(());
            };
            let Some(OrderByKind::Expressions(orders)) =
                query.order_by.as_ref().map(|order_by| &order_by.kind)
            else {
                return ControlFlow::Continue(());
            };
            let aliases: BTreeSet<String> = select
                .projection
                .iter()
                .filter_map(|item| match item {
                    SelectItem::ExprWithAlias { alias, .. } => Some(normalized(alias)),
                    _ => None,
                })
                .collect();
            let mut computed = orders.iter().map(|order| &order.expr);
            let is_aliased = computed.any(|expr| {
                !matches!(expr, Expr::Identifier(_) | Expr::Value(_)) && names_one(expr, &aliases)
            });
            if is_aliased {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }
    statement_of(parsed).is_some_and(|statement| statement.visit(&mut Orders).is_break())
}

/// Whether `expr` has one of `names` in it.
fn names_one(expr: &Expr, names: &BTreeSet<String>) -> bool {
    struct Found<'a>(&'a BTreeSet<String>);
    impl Visitor for Found<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(name) if self.0.contains(&normalized(name)) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Found(names)).is_break()
}

/// Rewrites `parsed`, see the head of this file.
fn resolve(mut parsed: Parsed, tables: &Tables) -> Result<Resolved, Failure> {
    let mut resolver = Resolver {
        tables,
        given: HashMap::new(),
        scopes: vec![],
        ctes: vec![],
    };
    let statement = statement_in(&mut parsed).ok_or(Failure::Unsupported)?;
    let query = match statement {
        Statement::Query(query) => query,
        Statement::Explain { statement, .. } => match statement.as_mut() {
            Statement::Query(query) => query,
            _ => return Err(Failure::Unsupported),
        },
        _ => return Err(Failure::Unsupported),
    };
    resolver.query(query)?;
    let given = resolver.given;
    Ok(Resolved { parsed, given })
}

struct Resolver<'a> {
    tables: &'a Tables,
    given: HashMap<String, Option<String>>,
    /// The FROMs around, the innermost last.
    scopes: Vec<From>,
    /// The CTEs around, the innermost last.
    ctes: Vec<(String, Vec<Named>)>,
}

impl Resolver<'_> {
    /// A name that no column of the statement has.
    fn give(&mut self, visible: Option<String>) -> String {
        let name = format!("__column_{}", self.given.len() + 1);
        self.given.insert(name.clone(), visible);
        name
    }

    /// Rewrites `query`; returns its columns.
    fn query(&mut self, query: &mut Query) -> Result<Vec<Named>, Failure> {
        if !query.pipe_operators.is_empty() {
            return Err(Failure::Unsupported);
        }
        let around = self.ctes.len();
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                self.cte(cte, with.recursive)?;
            }
        }
        let columns = match query.body.as_mut() {
            SetExpr::Select(select) => self.select(select, query.order_by.as_mut())?,
            body => {
                let columns = self.set_expr(body, None)?;
                if let Some(order_by) = &mut query.order_by {
                    order_by_outputs(order_by, &columns)?;
                }
                columns
            }
        };
        self.ctes.truncate(around);
        Ok(columns)
    }

    fn cte(&mut self, cte: &mut Cte, recursive: bool) -> Result<(), Failure> {
        let name = normalized(&cte.alias.name);
        let around = self.ctes.len();
        let recursion = recursive.then_some(&cte.alias);
        let columns = match cte.query.body.as_mut() {
            body @ SetExpr::SetOperation { .. } if recursive => self.set_expr(body, recursion)?,
            _ => self.query(&mut cte.query)?,
        };
        self.ctes.truncate(around);
        self.ctes.push((name, renamed(columns, &cte.alias)));
        Ok(())
    }

    /// `recursion` is the CTE that the right side of a set operation may name.
    fn set_expr(
        &mut self,
        body: &mut SetExpr,
        recursion: Option<&TableAlias>,
    ) -> Result<Vec<Named>, Failure> {
        match body {
            SetExpr::Select(select) => self.select(select, None),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let columns = self.set_expr(left, None)?;
                if let Some(alias) = recursion {
                    let columns = renamed(columns.clone(), alias);
                    self.ctes.push((normalized(&alias.name), columns));
                }
                self.set_expr(right, None)?;
                Ok(columns)
            }
            SetExpr::Values(values) => {
                let width = values.rows.first().map_or(0, |row| row.len());
                let name = |position| Named::plain(format!("column{position}"));
                Ok((1..=width).map(name).collect())
            }
            SetExpr::Table(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_) => Err(Failure::Unsupported),
        }
    }

    /// `before` are the relations that LATERAL may refer to.
    fn table_with_joins(
        &mut self,
        table: &mut TableWithJoins,
        before: &From,
    ) -> Result<From, Failure> {
        let mut from = self.table_factor(&mut table.relation, before)?;
        for join in &mut table.joins {
            let around = before.clone().beside(from.clone());
            let right = self.table_factor(&mut join.relation, &around)?;
            if let Some(condition) = condition_of(&mut join.join_operator) {
                self.scopes.push(from.clone().beside(right.clone()));
                let done = self.expr(condition);
                self.scopes.pop();
                done?;
            }
            from = joins::join(from, right, &mut join.join_operator)?;
        }
        Ok(from)
    }

    fn table_factor(&mut self, factor: &mut TableFactor, before: &From) -> Result<From, Failure> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let name = parts(name).ok_or(Failure::Unsupported)?;
                let columns = self.columns_of(&name).ok_or(Failure::Unsupported)?;
                Ok(From::of(match alias {
                    Some(alias) => Relation {
                        qualifier: vec![normalized(&alias.name)],
                        columns: renamed(columns, alias),
                    },
                    None => Relation {
                        qualifier: name,
                        columns,
                    },
                }))
            }
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                ..
            } => {
                if *lateral {
                    self.scopes.push(before.clone());
                }
                let columns = self.query(subquery);
                if *lateral {
                    self.scopes.pop();
                }
                let columns = columns?;
                // Without a name its columns could not be qualified.
                let alias = alias.get_or_insert_with(|| {
                    let name = Ident::with_quote('"', format!("__table_{}", self.given.len() + 1));
                    TableAlias {
                        explicit: true,
                        name,
                        columns: vec![],
                        at: None,
                    }
                });
                if alias.name.value.starts_with("__table_") {
                    self.given.insert(alias.name.value.clone(), None);
                }
                Ok(From::of(Relation {
                    qualifier: vec![normalized(&alias.name)],
                    columns: renamed(columns, alias),
                }))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => self.table_with_joins(table_with_joins, before),
            _ => Ok(From::open()),
        }
    }

    fn columns_of(&self, name: &[String]) -> Option<Vec<Named>> {
        if let [name] = name
            && let Some((_, columns)) = self.ctes.iter().rev().find(|(cte, _)| cte == name)
        {
            return Some(columns.clone());
        }
        let columns = self.tables.get(name)?.iter().cloned();
        Some(columns.map(Named::plain).collect())
    }

    /// Rewrites the names in `expr`, and the subqueries in it.
    fn expr<T: VisitMut>(&mut self, expr: &mut T) -> Result<(), Failure> {
        // Subqueries have scopes of their own, so that they are taken out while names are looked up
        // in this one.
        let mut taken = Subqueries::take(expr);
        let mut names = NameRewriter {
            scopes: &self.scopes,
        };
        let found = expr.visit(&mut names);
        for query in &mut taken {
            self.query(query)?;
        }
        Subqueries::put_back(expr, taken);
        match found {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(failure) => Err(failure),
        }
    }
}

/// ORDER BY of a set operation names its columns.
fn order_by_outputs(order_by: &mut OrderBy, columns: &[Named]) -> Result<(), Failure> {
    let OrderByKind::Expressions(exprs) = &mut order_by.kind else {
        return Ok(());
    };
    for order in exprs {
        if let Expr::Identifier(name) = &mut order.expr {
            let mut found = columns.iter();
            let mut found = found
                .by_ref()
                .filter(|column| column.visible == normalized(name));
            match (found.next(), found.next()) {
                (Some(column), None) => *name = Ident::with_quote('"', &column.internal),
                (Some(_), Some(_)) => return Err(ambiguous(name)),
                (None, _) => {}
            }
        }
    }
    Ok(())
}

fn condition_of(operator: &mut JoinOperator) -> Option<&mut Expr> {
    match operator {
        JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition))
        | JoinOperator::Right(JoinConstraint::On(condition))
        | JoinOperator::RightOuter(JoinConstraint::On(condition))
        | JoinOperator::FullOuter(JoinConstraint::On(condition))
        | JoinOperator::Semi(JoinConstraint::On(condition))
        | JoinOperator::LeftSemi(JoinConstraint::On(condition))
        | JoinOperator::RightSemi(JoinConstraint::On(condition))
        | JoinOperator::Anti(JoinConstraint::On(condition))
        | JoinOperator::LeftAnti(JoinConstraint::On(condition))
        | JoinOperator::RightAnti(JoinConstraint::On(condition)) => Some(condition),
        _ => None,
    }
}

/// `columns` under the names that an alias with a column list gives them.
fn renamed(mut columns: Vec<Named>, alias: &TableAlias) -> Vec<Named> {
    for (column, given) in columns.iter_mut().zip(&alias.columns) {
        *column = Named::plain(normalized(&given.name));
    }
    columns
}

/// Takes the outermost subqueries out of an expression, and puts them back in the same order.
struct Subqueries {
    depth: usize,
    taken: Vec<Query>,
    puts_back: bool,
}

impl Subqueries {
    fn take<T: VisitMut>(expr: &mut T) -> Vec<Query> {
        let mut subqueries = Self {
            depth: 0,
            taken: vec![],
            puts_back: false,
        };
        let _ = expr.visit(&mut subqueries);
        subqueries.taken
    }

    fn put_back<T: VisitMut>(expr: &mut T, mut taken: Vec<Query>) {
        taken.reverse();
        let mut subqueries = Self {
            depth: 0,
            taken,
            puts_back: true,
        };
        let _ = expr.visit(&mut subqueries);
    }
}

impl VisitorMut for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.depth == 0 && !self.puts_back {
            let body = SetExpr::Values(datafusion::sql::sqlparser::ast::Values {
                explicit_row: false,
                value_keyword: false,
                rows: vec![],
            });
            let mut empty = query.clone();
            empty.with = None;
            empty.order_by = None;
            empty.limit_clause = None;
            *empty.body = body;
            self.taken.push(std::mem::replace(query, empty));
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        if self.depth == 0
            && self.puts_back
            && let Some(taken) = self.taken.pop()
        {
            *query = taken;
        }
        ControlFlow::Continue(())
    }
}

/// Rewrites the names of columns in an expression that has no subqueries.
struct NameRewriter<'a> {
    scopes: &'a [From],
}

impl VisitorMut for NameRewriter<'_> {
    type Break = Failure;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Failure> {
        let (name, meaning) = match expr {
            Expr::Identifier(name) => (name.clone(), self.find(&[], &normalized(name))),
            Expr::CompoundIdentifier(names) => {
                let Some((name, qualifier)) = names.split_last() else {
                    return ControlFlow::Continue(());
                };
                let qualifier: Vec<_> = qualifier.iter().map(normalized).collect();
                (name.clone(), self.find(&qualifier, &normalized(name)))
            }
            _ => return ControlFlow::Continue(()),
        };
        match meaning {
            Meaning::Column(found) if is_rewritten(expr, &found) => *expr = *found,
            Meaning::Column(_) | Meaning::Unknown => {}
            Meaning::Ambiguous => return ControlFlow::Break(ambiguous(&name)),
        }
        ControlFlow::Continue(())
    }
}

impl NameRewriter<'_> {
    fn find(&self, qualifier: &[String], name: &str) -> Meaning {
        for scope in self.scopes.iter().rev() {
            let meaning = match qualifier {
                [] => scope.unqualified(name),
                _ => scope.qualified(qualifier, name),
            };
            match meaning {
                Meaning::Unknown => {}
                found => return found,
            }
        }
        Meaning::Unknown
    }
}

/// Whether the planner would read `expr` as something else than `found`: its last name differs, or
/// it is no name at all.
///
/// Names that it reads rightly stay as they are written, with their place in the text.
fn is_rewritten(expr: &Expr, found: &Expr) -> bool {
    let last = |expr: &Expr| match expr {
        Expr::Identifier(name) => Some(normalized(name)),
        Expr::CompoundIdentifier(names) => names.last().map(normalized),
        _ => None,
    };
    match (expr, found) {
        // The unqualified column of USING is one side's.
        (Expr::Identifier(_), Expr::CompoundIdentifier(_)) => true,
        _ => last(expr) != last(found),
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Tables, resolve};
    use crate::sql::parse_one;

    fn resolved(text: &str) -> Result<String, Failure> {
        let columns = |table: &str, columns: &[&str]| {
            let columns = columns.iter().map(|name| (*name).to_owned());
            (vec![table.to_owned()], columns.collect())
        };
        let tables: Tables = [columns("l", &["k", "a"]), columns("r", &["k", "b"])].into();
        let parsed = parse_one(text, "text").expect("SQL").parsed();
        Ok(resolve(parsed, &tables)?.parsed.to_string())
    }

    #[test]
    fn the_column_of_a_join_by_names_is_written_out() {
        let check = |text: &str, expected: &str| {
            let found = resolved(text).expect("resolved").replace('"', "");
            assert_eq!(found, expected, "{text}");
        };
        check(
            "SELECT k, a FROM l FULL JOIN r USING (k) WHERE k > 1 GROUP BY k, a ORDER BY k",
            "SELECT coalesce(l.k, r.k) AS k, l.a FROM l FULL JOIN r ON l.k = r.k WHERE coalesce(l.k, r.k) > 1 GROUP BY coalesce(l.k, r.k), l.a ORDER BY k",
        );
        check(
            "SELECT * FROM l NATURAL RIGHT JOIN r",
            "SELECT r.k, l.a, r.b FROM l RIGHT JOIN r ON l.k = r.k",
        );
        check(
            "SELECT l.k, l.k FROM l AS l FULL JOIN r USING (k)",
            "SELECT l.k AS __column_1, l.k AS __column_2 FROM l AS l FULL JOIN r ON l.k = r.k",
        );
        check(
            "SELECT a FROM l WHERE EXISTS (SELECT 1 FROM r WHERE b = a AND r.k = l.k)",
            "SELECT l.a FROM l WHERE EXISTS (SELECT 1 AS __column_1 FROM r WHERE r.b = l.a AND r.k = l.k)",
        );
    }

    #[test]
    fn a_reference_to_a_name_of_several_columns_is_refused() {
        for text in [
            "SELECT k FROM (SELECT l.k, r.k FROM l JOIN r ON l.k = r.k) AS q",
            "SELECT q.k FROM (SELECT l.k, r.k FROM l JOIN r ON l.k = r.k) AS q",
            "WITH q AS (SELECT a, a FROM l) SELECT count(a) FROM q",
            "SELECT a AS x, k AS x FROM l ORDER BY x",
        ] {
            let Err(Failure::Refused(message, _)) = resolved(text) else {
                panic!("{text} is not refused");
            };
            assert!(message.contains("is ambiguous"), "{message}");
        }
    }
}
