//! `IS [NOT] DISTINCT FROM` takes the operand behind it and no more.
//!
//! The parser (sqlparser 0.62) takes all that follows: `a IS DISTINCT FROM b AND c` is `a IS
//! DISTINCT FROM (b AND c)` to it, which answers wrongly where all of them are conditions and fails
//! elsewhere. AND, OR and NOT around such an operator are bound anew, as PostgreSQL binds them.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};

/// Binds the operators of `expr` anew where one of them has taken too much.
pub(super) fn rebind(expr: &mut Expr) {
    if !has_taken_too_much(expr) {
        return;
    }
    let mut parts = Vec::new();
    flatten(std::mem::replace(expr, placeholder()), &mut parts);
    let mut parts = parts.into_iter().peekable();
    *expr = bound(&mut parts, 0);
}

fn placeholder() -> Expr {
    Expr::Tuple(Vec::new())
}

fn is_logical(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryOp {
            op: BinaryOperator::And | BinaryOperator::Or,
            ..
        }
    )
}

fn has_taken_too_much(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { left, right, .. } if is_logical(expr) => {
            has_taken_too_much(left) || has_taken_too_much(right)
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => has_taken_too_much(expr),
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => is_logical(right),
        _ => false,
    }
}

/// A condition in the order in which it was written.
enum Part {
    Operand(Box<Expr>),
    Operator(BinaryOperator),
    Not,
}

fn flatten(expr: Expr, parts: &mut Vec<Part>) {
    match expr {
        Expr::BinaryOp {
            left,
            op: op @ (BinaryOperator::And | BinaryOperator::Or),
            right,
        } => {
            flatten(*left, parts);
            parts.push(Part::Operator(op));
            flatten(*right, parts);
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => {
            parts.push(Part::Not);
            flatten(*expr, parts);
        }
        Expr::IsDistinctFrom(left, right) => {
            compared(*left, *right, parts, Expr::IsDistinctFrom);
        }
        Expr::IsNotDistinctFrom(left, right) => {
            compared(*left, *right, parts, Expr::IsNotDistinctFrom);
        }
        other => parts.push(Part::Operand(Box::new(other))),
    }
}

/// `left` compared with the first operand of `right`, and behind it what `right` has taken.
fn compared(left: Expr, right: Expr, parts: &mut Vec<Part>, by: fn(Box<Expr>, Box<Expr>) -> Expr) {
    let mut taken = Vec::new();
    flatten(right, &mut taken);
    let mut taken = taken.into_iter().peekable();
    let operand = bound(&mut taken, NOT);
    let compared = by(Box::new(left), Box::new(operand));
    parts.push(Part::Operand(Box::new(compared)));
    parts.extend(taken);
}

const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;

/// The operators that bind stronger than `weakest`, as a tree.
fn bound(parts: &mut std::iter::Peekable<std::vec::IntoIter<Part>>, weakest: u8) -> Expr {
    let mut left = match parts.next() {
        Some(Part::Operand(operand)) => *operand,
        Some(Part::Not) => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(bound(parts, NOT - 1)),
        },
        Some(Part::Operator(_)) | None => placeholder(),
    };
    loop {
        let strength = match parts.peek() {
            Some(Part::Operator(BinaryOperator::And)) => AND,
            Some(Part::Operator(_)) => OR,
            _ => return left,
        };
        if strength <= weakest {
            return left;
        }
        let Some(Part::Operator(op)) = parts.next() else {
            return left;
        };
        left = Expr::BinaryOp {
            left: Box::new(left),
            op,
            right: Box::new(bound(parts, strength)),
        };
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn is_distinct_from_takes_one_operand() {
        for (text, top) in [
            ("a IS DISTINCT FROM b AND c", BinaryOperator::And),
            ("a IS NOT DISTINCT FROM b OR c AND d", BinaryOperator::Or),
            ("x AND a IS DISTINCT FROM b OR c", BinaryOperator::Or),
            ("NOT a IS DISTINCT FROM b AND c", BinaryOperator::And),
            (
                "a IS DISTINCT FROM b AND c IS DISTINCT FROM d OR e",
                BinaryOperator::Or,
            ),
        ] {
            let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
            let mut expr = parser.unwrap().parse_expr().unwrap();
            rebind(&mut expr);
            let Expr::BinaryOp { op, .. } = &expr else {
                panic!("{text}: {expr:?}");
            };
            assert_eq!(*op, top, "{text}");
            assert_eq!(expr.to_string(), text);
            assert!(!has_taken_too_much(&expr), "{text}");
        }
        let text = "a IS DISTINCT FROM (b AND c)";
        let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
        let mut expr = parser.unwrap().parse_expr().unwrap();
        rebind(&mut expr);
        assert!(matches!(expr, Expr::IsDistinctFrom(..)), "{expr:?}");
    }
}
