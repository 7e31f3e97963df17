//! Refuses by name, with the remedy, SQL that the parser accepts and the planner ignores, answers
//! wrongly or does not know.
//!
//! DataFusion 55 answers INTERSECT ALL and EXCEPT ALL by semi and anti joins, which do not count
//! (`VALUES 1,1,2 INTERSECT ALL VALUES 1,2,2` gives 1, 1, 2), and ignores TABLESAMPLE. It computes
//! a query of WITH anew for each name, so that one with `random()` has other rows each time.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, ObjectName, Query, SetExpr, SetOperator, SetQuantifier, Spanned as _,
    Statement, TableFactor, Visit as _, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

/// Why a statement is refused, and where.
pub(super) type Refusal = (String, Span);

/// Refuses what is said at the head of this file.
pub(super) fn check(statement: &Statement) -> Result<(), Refusal> {
    if let Some(message) = session_statement(statement) {
        return Err((message, statement.span()));
    }
    match statement.visit(&mut Refusals) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

/// Statements that change a session or a transaction, of which there are none.
fn session_statement(statement: &Statement) -> Option<String> {
    let text = statement.to_string();
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default().to_uppercase();
    let second = words.next().unwrap_or_default().to_uppercase();
    match statement {
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. } => Some(format!(
            "{first} is not allowed here: SQL only reads the lake, each statement by itself on the newest version of its tables; leave it out"
        )),
        Statement::Set(_) if second == "TIME" || second == "TIMEZONE" => Some(
            "SET TIME ZONE is not allowed here: instants are in UTC; write `event_time AT TIME ZONE 'Europe/Paris'` for a local time"
                .to_owned(),
        ),
        Statement::Set(_) => Some(
            "SET is not allowed here: a statement has no session whose settings it could change; leave it out"
                .to_owned(),
        ),
        Statement::CreateTable(_) => Some(
            "CREATE TABLE is not allowed here: SQL only reads the lake; give the rows of a query a name by WITH"
                .to_owned(),
        ),
        Statement::Use(_) => Some(
            "USE is not allowed here: tables are found in schema lake; write the schema before the table, as in system.completeness"
                .to_owned(),
        ),
        _ => None,
    }
}

/// A query of WITH that draws random values, and that is named more than once.
fn volatile_query_read_twice(query: &Query) -> Option<Refusal> {
    let with = query.with.as_ref()?;
    let volatile = with.cte_tables.iter().filter(|cte| {
        let mut calls = VolatileCalls;
        cte.query.visit(&mut calls).is_break()
    });
    volatile.into_iter().find_map(|cte| {
        let name = &cte.alias.name;
        let mut readings = Readings {
            name: &name.value,
            count: 0,
        };
        let _ = query.visit(&mut readings);
        (readings.count > 1).then(|| {
            let message = format!(
                "\"{name}\" has random values and is named {} times, which would each draw others; let a query file keep its rows in a table",
                readings.count
            );
            (message, name.span)
        })
    })
}

struct VolatileCalls;

impl Visitor for VolatileCalls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        let name = call.name.to_string().to_lowercase();
        match name.as_str() {
            "random" | "rand" | "uuid" | "gen_random_uuid" | "shuffle" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// How often a table is named.
struct Readings<'a> {
    name: &'a str,
    count: usize,
}

impl Visitor for Readings<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let [part] = &relation.0[..]
            && part
                .as_ident()
                .is_some_and(|part| part.value.eq_ignore_ascii_case(self.name))
        {
            self.count += 1;
        }
        ControlFlow::Continue(())
    }
}

struct Refusals;

impl Visitor for Refusals {
    type Break = Refusal;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        if let Expr::BinaryOp {
            op: BinaryOperator::BitwiseXor | BinaryOperator::PGExp,
            ..
        } = expr
        {
            let message = "`^` is a power to some engines and XOR to others; write power(a, b), or (a | b) - (a & b)";
            return ControlFlow::Break((message.to_owned(), expr.span()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        match set_operation(&query.body).or_else(|| volatile_query_read_twice(query)) {
            Some(refusal) => ControlFlow::Break(refusal),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refusal> {
        let message = match factor {
            TableFactor::Table {
                sample: Some(_), ..
            }
            | TableFactor::Derived {
                sample: Some(_), ..
            } => {
                "TABLESAMPLE is not there: no sample is taken; write `WHERE random() < 0.01` for about one row in a hundred"
            }
            TableFactor::Pivot { .. } => {
                "PIVOT is not there; write one aggregate a column, as in `sum(x) FILTER (WHERE kind = 'a') AS a`"
            }
            TableFactor::Unpivot { .. } => {
                "UNPIVOT is not there; write one SELECT a column, put together by UNION ALL"
            }
            TableFactor::MatchRecognize { .. } => {
                "MATCH_RECOGNIZE is not there; compare a row with those before it by lag() and lead() OVER (…)"
            }
            _ => return ControlFlow::Continue(()),
        };
        ControlFlow::Break((message.to_owned(), factor.span()))
    }
}

fn set_operation(body: &SetExpr) -> Option<Refusal> {
    let SetExpr::SetOperation {
        op,
        set_quantifier,
        left,
        right,
    } = body
    else {
        return None;
    };
    if matches!(
        op,
        SetOperator::Intersect | SetOperator::Except | SetOperator::Minus
    ) && matches!(
        set_quantifier,
        SetQuantifier::All | SetQuantifier::AllByName
    ) {
        let message = format!(
            "{op} ALL is not there: it counts rows that are alike; write {op} for rows without repetition, or number them by `row_number() OVER (PARTITION BY …)` on both sides first"
        );
        return Some((message, body.span()));
    }
    set_operation(left).or_else(|| set_operation(right))
}
