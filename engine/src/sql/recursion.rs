//! Marks the steps of recursive queries, so that the rule of the same name sees the types that they
//! compute.
//!
//! DataFusion casts what a step computes to the type that the recursion begins with, and writes the
//! cast into the step's own select list, where it looks like one of the user's. Around a derived
//! table the two differ.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    Query, SetExpr, SetOperator, Statement, TableFactor, VisitMut as _, VisitorMut,
};

/// The name of the derived table around a step.
pub(crate) const STEP: &str = "step of the recursion";

/// Writes `SELECT * FROM (…)` around each step of a recursive query in `statement`.
pub(super) fn mark_steps(statement: &mut Statement) {
    let ControlFlow::Continue(()) = statement.visit(&mut Marker);
}

struct Marker;

impl VisitorMut for Marker {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Infallible> {
        let recursive = query.with.as_mut().filter(|with| with.recursive);
        for table in recursive.into_iter().flat_map(|with| &mut with.cte_tables) {
            if let SetExpr::SetOperation {
                op: SetOperator::Union,
                right,
                ..
            } = table.query.body.as_mut()
                && let Some(marked) = marked(right)
            {
                **right = marked;
            }
        }
        ControlFlow::Continue(())
    }
}

/// `SELECT * FROM (step)`.
fn marked(step: &SetExpr) -> Option<SetExpr> {
    let mut around = template()?;
    let SetExpr::Select(select) = around.body.as_mut() else {
        return None;
    };
    let TableFactor::Derived { subquery, .. } = &mut select.from.first_mut()?.relation else {
        return None;
    };
    *subquery.body = step.clone();
    Some(*around.body)
}

/// A query around a derived table, whose fields are many and here all as the parser leaves them.
fn template() -> Option<Query> {
    let text = format!("SELECT * FROM (SELECT 1) AS \"{STEP}\"");
    let mut parser = DFParserBuilder::new(text.as_str()).build().ok()?;
    match parser.parse_statement().ok()? {
        Parsed::Statement(parsed) => match *parsed {
            Statement::Query(query) => Some(*query),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_one;

    #[test]
    fn a_step_is_wrapped_and_nothing_else() {
        let check = |text: &str, expected: &str| {
            let statement = parse_one(text, "text").expect(text);
            let marked = statement.prepared().expect(text).to_string();
            assert_eq!(marked.replace(&format!(" AS \"{STEP}\""), ""), expected);
        };
        for untouched in [
            "SELECT 1 UNION ALL SELECT 2.5",
            "WITH r AS (SELECT 1 UNION ALL SELECT 2) SELECT * FROM r",
            "WITH RECURSIVE r AS (SELECT 1) SELECT * FROM r",
        ] {
            check(untouched, untouched);
        }
        check(
            "EXPLAIN WITH RECURSIVE r AS (SELECT 1 AS n UNION SELECT n + 1 FROM r) SELECT * FROM r",
            "EXPLAIN WITH RECURSIVE r AS (SELECT 1 AS n UNION SELECT * FROM (SELECT n + 1 FROM r)) SELECT * FROM r",
        );
        check(
            "SELECT * FROM (WITH RECURSIVE r AS (SELECT 1 UNION ALL (SELECT 2 FROM r)) SELECT * FROM r)",
            "SELECT * FROM (WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM ((SELECT 2 FROM r))) SELECT * FROM r)",
        );
    }
}
