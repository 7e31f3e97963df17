//! Joins by names: USING and NATURAL become ON, and their columns what the standard says.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, Value,
};

use super::scope::{From, Meaning, Output, normalized};
use super::{Failure, ambiguous};

/// Which side the column of USING is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeySide {
    Left,
    Right,
    /// The left one, or the right one where that is null.
    Both,
}

/// The sides of a join that its rows have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Left,
    Right,
    Both,
}

/// The rows of `left` joined to `right`; `operator` is left without USING and NATURAL.
pub(super) fn join(left: From, right: From, operator: &mut JoinOperator) -> Result<From, Failure> {
    let Some((constraint, side, kept)) = taken_apart(operator) else {
        return Ok(left.beside(right));
    };
    let keys = match constraint {
        JoinConstraint::Using(names) => {
            let name = |name: &ObjectName| match &name.0[..] {
                [part] => part.as_ident().cloned().ok_or(Failure::Unsupported),
                _ => Err(Failure::Unsupported),
            };
            Some(names.iter().map(name).collect::<Result<Vec<_>, _>>()?)
        }
        JoinConstraint::Natural => Some(common(&left, &right)?),
        JoinConstraint::On(_) | JoinConstraint::None => None,
    };
    let Some(keys) = keys else {
        return Ok(kept_of(left, right, kept));
    };
    let mut merged = Vec::with_capacity(keys.len());
    let mut condition = None;
    for key in &keys {
        let of = |from: &From| match from.unqualified(&normalized(key)) {
            Meaning::Column(expr) => Ok(*expr),
            Meaning::Ambiguous => Err(ambiguous(key)),
            Meaning::Unknown if from.is_open => Err(Failure::Unsupported),
            Meaning::Unknown => Err(Failure::Refused(
                format!("column \"{}\" of USING is not in both tables", key.value),
                key.span,
            )),
        };
        let (one, other) = (of(&left)?, of(&right)?);
        let equal = binary(one.clone(), BinaryOperator::Eq, other.clone());
        condition = Some(match condition {
            Some(before) => binary(before, BinaryOperator::And, equal),
            None => equal,
        });
        merged.push(Output {
            name: normalized(key),
            expr: match side {
                KeySide::Left => one,
                KeySide::Right => other,
                KeySide::Both => call("coalesce", vec![one, other]),
            },
        });
    }
    let always = || Expr::Value(Value::Boolean(true).into());
    *constraint = JoinConstraint::On(condition.unwrap_or_else(always));
    let mut joined = kept_of(left, right, kept);
    let is_key = |output: &Output| keys.iter().any(|key| normalized(key) == output.name);
    let rest = joined.outputs.into_iter().filter(|output| !is_key(output));
    joined.outputs = merged.into_iter().chain(rest).collect();
    Ok(joined)
}

fn kept_of(left: From, right: From, kept: Kept) -> From {
    match kept {
        Kept::Left => left,
        Kept::Right => right,
        Kept::Both => left.beside(right),
    }
}

fn taken_apart(operator: &mut JoinOperator) -> Option<(&mut JoinConstraint, KeySide, Kept)> {
    Some(match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => (constraint, KeySide::Left, Kept::Both),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (constraint, KeySide::Right, Kept::Both)
        }
        JoinOperator::FullOuter(constraint) => (constraint, KeySide::Both, Kept::Both),
        JoinOperator::Semi(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::Anti(constraint)
        | JoinOperator::LeftAnti(constraint) => (constraint, KeySide::Left, Kept::Left),
        JoinOperator::RightSemi(constraint) | JoinOperator::RightAnti(constraint) => {
            (constraint, KeySide::Right, Kept::Right)
        }
        JoinOperator::CrossJoin(_)
        | JoinOperator::StraightJoin(_)
        | JoinOperator::CrossApply
        | JoinOperator::OuterApply
        | JoinOperator::AsOf { .. }
        | JoinOperator::ArrayJoin
        | JoinOperator::LeftArrayJoin
        | JoinOperator::InnerArrayJoin => return None,
    })
}

/// The names that both sides have, in the order of the left one.
fn common(left: &From, right: &From) -> Result<Vec<Ident>, Failure> {
    if left.is_open || right.is_open {
        return Err(Failure::Unsupported);
    }
    let mut names: Vec<Ident> = Vec::new();
    for output in &left.outputs {
        let is_new = names.iter().all(|name| name.value != output.name);
        if is_new && right.outputs.iter().any(|other| other.name == output.name) {
            names.push(Ident::with_quote('"', output.name.clone()));
        }
    }
    Ok(names)
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// A call of a function by its plain name.
pub(in crate::sql) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter();
    let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
