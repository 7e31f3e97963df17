//! Rows: `(a, b) IN (SELECT x, y …)`, which the planner does not know, by EXISTS, and `(a, b) = (c,
//! d)` by its columns.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, UnaryOperator};
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

/// Whether the row `row` is in `subquery`: true where an equal row exists, else null where one
/// exists that differs in nothing but nulls, else false.
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

/// A comparison of rows by their columns, so that nulls decide as they do in SQL: `(1, NULL) = (1,
/// 2)` is null, and `(1, NULL) = (2, 2)` is false. DataFusion compares rows as values of a type
/// that has nulls within.
pub(super) fn compared(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op, right } => match (left.as_ref(), right.as_ref()) {
            (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == right.len() => {
                by_column(left, op, right)
            }
            _ => None,
        },
        Expr::InList {
            expr,
            list,
            negated,
        } => {
            let Expr::Tuple(row) = expr.as_ref() else {
                return None;
            };
            let equals = list.iter().map(|other| match other {
                Expr::Tuple(other) if other.len() == row.len() => equal(row, other),
                _ => None,
            });
            let found = any(&equals.collect::<Option<Vec<_>>>()?)?;
            Some(if *negated { not(found) } else { found })
        }
        _ => None,
    }
}

fn by_column(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    let strict = match op {
        BinaryOperator::Eq => return equal(left, right),
        BinaryOperator::NotEq => return equal(left, right).map(not),
        BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::Gt | BinaryOperator::GtEq => BinaryOperator::Gt,
        _ => return None,
    };
    // From the last column on: each decides where all before it are equal.
    let mut pairs = left.iter().zip(right).rev();
    let (left, right) = pairs.next()?;
    let last = nested(left.clone(), op.clone(), right.clone());
    Some(pairs.fold(last, |later, (left, right)| {
        let decides = nested(left.clone(), strict.clone(), right.clone());
        let equal = nested(left.clone(), BinaryOperator::Eq, right.clone());
        let equal = nested(equal, BinaryOperator::And, later);
        nested(decides, BinaryOperator::Or, equal)
    }))
}

fn equal(left: &[Expr], right: &[Expr]) -> Option<Expr> {
    let pairs = left.iter().zip(right);
    let equals = pairs.map(|(left, right)| nested(left.clone(), BinaryOperator::Eq, right.clone()));
    equals.reduce(|all, one| nested(all, BinaryOperator::And, one))
}

/// Halves joined by OR, so that a long list nests no deeper than it must.
fn any(conditions: &[Expr]) -> Option<Expr> {
    match conditions {
        [] => None,
        [one] => Some(one.clone()),
        more => {
            let (first, second) = more.split_at(more.len() / 2);
            Some(nested(any(first)?, BinaryOperator::Or, any(second)?))
        }
    }
}

fn not(condition: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(condition),
    }))
}

fn nested(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }))
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

/// `None` where a text that was written of a parsed statement is not parsed: then it stays as it
/// is, and is refused.
fn parsed(text: &str) -> Option<Expr> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    parser.ok()?.parse_expr().ok()
}

#[cfg(test)]
mod tests {
    use super::{compared, parsed};

    #[test]
    fn rows_are_compared_column_by_column() {
        for (written, expected) in [
            ("(a, 1) = (b, NULL)", "((a = b) AND (1 = NULL))"),
            ("(a, 1) <> (b, 2)", "(NOT ((a = b) AND (1 = 2)))"),
            ("(a, 1) < (b, 2)", "((a < b) OR ((a = b) AND (1 < 2)))"),
            ("(a, 1) >= (b, 2)", "((a > b) OR ((a = b) AND (1 >= 2)))"),
            (
                "(a, b) NOT IN ((1, 2), (3, 4))",
                "(NOT (((a = 1) AND (b = 2)) OR ((a = 3) AND (b = 4))))",
            ),
        ] {
            let found = parsed(written).and_then(|expr| compared(&expr));
            assert_eq!(
                found.map(|expr| expr.to_string()).as_deref(),
                Some(expected)
            );
        }
        for other in ["(a, b) = c", "(a, b) = (1, 2, 3)", "a IN (1, 2)"] {
            assert_eq!(
                parsed(other).and_then(|expr| compared(&expr)),
                None,
                "{other}"
            );
        }
    }
}
