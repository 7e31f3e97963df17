//! `(a, b) IN (SELECT x, y …)`, which the planner does not know, by EXISTS.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Rewrites the conjuncts of a condition whose null counts as false.
pub(super) fn in_conjuncts(condition: &mut Expr) {
    match condition {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            in_conjuncts(left);
            in_conjuncts(right);
        }
        Expr::Nested(inner) => in_conjuncts(inner),
        Expr::InSubquery {
            expr,
            subquery,
            negated: false,
        } => {
            if let Expr::Tuple(values) = expr.as_ref()
                && let Some(written) = parsed(&exists(values, subquery, is_equal))
            {
                *condition = written;
            }
        }
        _ => {}
    }
}

/// Whether the row `row` is in `subquery`: true where an equal row exists, else null where one exists that differs in
/// nothing but nulls, else false.
pub(super) fn within(row: &Expr, subquery: &Query, negated: bool) -> Option<Expr> {
    let Expr::Tuple(values) = row else {
        return None;
    };
    let equal = exists(values, subquery, is_equal);
    let undecided = exists(values, subquery, |value, element| {
        format!("({element} = ({value}) OR {element} IS NULL OR ({value}) IS NULL)")
    });
    let (found, missing) = (!negated, negated);
    parsed(&format!(
        "CASE WHEN {equal} THEN {found} WHEN {undecided} THEN NULL ELSE {missing} END"
    ))
}

fn is_equal(value: &Expr, element: &str) -> String {
    format!("{element} = ({value})")
}

/// That a row of `subquery` exists whose elements all hold `condition` with the values.
fn exists(values: &[Expr], subquery: &Query, condition: impl Fn(&Expr, &str) -> String) -> String {
    // Names that no value can mean, since it stands inside of the subquery now.
    let names = (1..=values.len()).map(|position| format!("\"__row_{position}\""));
    let names: Vec<_> = names.collect();
    let conditions = values.iter().zip(&names);
    let conditions = conditions.map(|(value, name)| condition(value, name));
    let conditions = conditions.collect::<Vec<_>>().join(" AND ");
    let names = names.join(", ");
    format!("EXISTS (SELECT 1 FROM ({subquery}) AS \"__rows\" ({names}) WHERE {conditions})")
}

/// `None` where a text that was written of a parsed statement is not parsed: then it stays as it is, and is refused.
fn parsed(text: &str) -> Option<Expr> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    parser.ok()?.parse_expr().ok()
}
