//! Spellings of other engines, in words of the planner: `FETCH FIRST`, `TOP`, `ILIKE ANY`,
//! `OVERLAPS`, `ORDER BY ALL`, `RLIKE`, `LIKE … ESCAPE`, casts to JSON, and the functions of
//! [`calls`].

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Fetch, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Join, JoinConstraint, JoinOperator, LambdaFunction, LimitClause,
    Offset, OneOrManyWithParens, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    Spanned as _, Statement, TopQuantity, Value, ValueWithSpan, VisitMut as _, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::refusals::Refusal;
use super::{calls, precedence, rows, similar};

pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Refusal> {
    match statement.visit(&mut Spellings) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Spellings;

impl VisitorMut for Spellings {
    type Break = Refusal;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Refusal> {
        for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
            semi_join(join);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Refusal> {
        let done = limit(query).and_then(|()| order_by_all(query));
        done.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }

    /// What is rewritten keeps the name of its column.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Refusal> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(name) = written_name(expr)
            {
                *item = SelectItem::ExprWithAlias {
                    alias: Ident::with_quote('"', name),
                    expr: expr.clone(),
                };
            }
        }
        // Where null counts as false, a row is in a subquery when an equal one exists.
        if let Some(selection) = &mut select.selection {
            rows::in_conjuncts(selection);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        precedence::rebind(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        match rewrite_expr(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}

/// What a column is called that is computed by a call or an operator of this file: as it is
/// written.
fn written_name(expr: &Expr) -> Option<String> {
    let text = expr.to_string();
    match expr {
        Expr::Function(call) if calls::is_rewritten(call) => {
            let (name, arguments) = text.split_once('(')?;
            Some(format!("{}({arguments}", name.to_lowercase()))
        }
        Expr::BinaryOp {
            op: BinaryOperator::Arrow | BinaryOperator::LongArrow,
            ..
        } => Some(text),
        Expr::Lambda(lambda) => json_of_lambda(lambda).map(|_| text),
        Expr::Like { escape_char, .. } | Expr::ILike { escape_char, .. } => {
            escape_char.as_ref().map(|_| text)
        }
        other => rows::compared(other).map(|_| text),
    }
}

fn rewrite_expr(expr: &mut Expr) -> Result<(), Refusal> {
    if let Some(compared) = rows::compared(expr) {
        *expr = compared;
        return Ok(());
    }
    match expr {
        Expr::Function(call) => {
            call.uses_odbc_syntax = false;
            calls::rewrite(expr)
        }
        Expr::Identifier(_) => calls::rewrite(expr),
        Expr::TypedString(literal) => {
            literal.uses_odbc_syntax = false;
            Ok(())
        }
        // JSON is kept as text, and its operators take text.
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr: inner,
            data_type: DataType::JSON | DataType::JSONB,
            ..
        } => {
            *expr = inner.as_ref().clone();
            Ok(())
        }
        Expr::BinaryOp {
            left,
            op: op @ (BinaryOperator::Arrow | BinaryOperator::LongArrow),
            right,
        } => {
            // The parser binds comparisons stronger: `json ->> ('a' = 'b')`.
            let mut whole = right.as_ref().clone();
            let member = first_operand(&mut whole);
            *member = json_member(op, left, member);
            *expr = whole;
            Ok(())
        }
        Expr::Lambda(lambda) => {
            let member = json_of_lambda(lambda);
            replace(expr, member)
        }
        // Without a unit a number counts seconds, as `INTERVAL '5'` does.
        Expr::Cast {
            expr: text,
            data_type: DataType::Interval { .. },
            ..
        } => {
            if let Expr::Value(value) = text.as_mut()
                && let Value::SingleQuotedString(text) = &mut value.value
                && text.trim().parse::<f64>().is_ok()
            {
                text.push_str(" seconds");
            }
            Ok(())
        }
        condition => rewrite_condition(condition),
    }
}

fn rewrite_condition(expr: &mut Expr) -> Result<(), Refusal> {
    match expr {
        Expr::RLike {
            negated,
            expr: text,
            pattern,
            ..
        } => {
            *expr = matches_regex(text, pattern.as_ref().clone(), *negated);
            Ok(())
        }
        Expr::SimilarTo {
            negated,
            expr: text,
            pattern,
            escape_char,
        } => {
            let pattern = similar::regex(pattern, escape_char.as_ref())?;
            *expr = matches_regex(text, pattern, *negated);
            Ok(())
        }
        Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => like_any(expr),
        Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        } => {
            escape_by_backslash(pattern, escape_char);
            Ok(())
        }
        Expr::AnyOp {
            left,
            compare_op: BinaryOperator::Eq,
            right,
            ..
        } if !matches!(right.as_ref(), Expr::Subquery(_)) => {
            *expr = calls::is_in_list(left, right)?;
            Ok(())
        }
        Expr::InSubquery {
            expr: row,
            subquery,
            negated,
        } => {
            let written = rows::within(row, subquery, *negated);
            replace(expr, written)
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Overlaps,
            right,
        } => {
            *expr = overlaps(left, right)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The planner knows the backslash alone: `LIKE 'a!_%' ESCAPE '!'` becomes `LIKE 'a\_%'`. It
/// refuses what is not written as a text.
fn escape_by_backslash(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) {
    let Some(Value::SingleQuotedString(mark)) = escape.as_ref().map(|escape| &escape.value) else {
        return;
    };
    let mut marks = mark.chars();
    let (mark, None) = (marks.next(), marks.next()) else {
        return;
    };
    let Expr::Value(written) = pattern else {
        return;
    };
    let Value::SingleQuotedString(text) = &mut written.value else {
        return;
    };
    let mut by_backslash = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let (character, is_escaped) = match characters.clone().next() {
            Some(next) if Some(character) == mark => {
                characters.next();
                (next, true)
            }
            _ => (character, false),
        };
        if is_escaped || character == '\\' {
            by_backslash.push('\\');
        }
        by_backslash.push(character);
    }
    *text = by_backslash;
    *escape = None;
}

fn matches_regex(text: &Expr, pattern: Expr, negated: bool) -> Expr {
    let op = if negated {
        BinaryOperator::PGRegexNotMatch
    } else {
        BinaryOperator::PGRegexMatch
    };
    binary(text.clone(), op, pattern)
}

/// SEMI JOIN keeps rows of its left side, as DuckDB and Spark have it.
fn semi_join(join: &mut Join) {
    match &mut join.join_operator {
        JoinOperator::Semi(constraint) => {
            let constraint = std::mem::replace(constraint, JoinConstraint::None);
            join.join_operator = JoinOperator::LeftSemi(constraint);
        }
        JoinOperator::Anti(constraint) => {
            let constraint = std::mem::replace(constraint, JoinConstraint::None);
            join.join_operator = JoinOperator::LeftAnti(constraint);
        }
        _ => {}
    }
}

fn replace(expr: &mut Expr, replacement: Option<Expr>) -> Result<(), Refusal> {
    if let Some(replacement) = replacement {
        *expr = replacement;
    }
    Ok(())
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// `json -> 'key'` and `json ->> 'key'` as functions.
fn json_member(op: &BinaryOperator, json: &Expr, member: &Expr) -> Expr {
    let name = match op {
        BinaryOperator::Arrow => "json_get",
        _ => "json_as_text",
    };
    super::names::call(name, vec![json.clone(), member.clone()])
}

/// The parser takes `value -> 'a'` for a function of `value`: what stands first in its body is the
/// member.
fn json_of_lambda(lambda: &LambdaFunction) -> Option<Expr> {
    let OneOrManyWithParens::One(parameter) = &lambda.params else {
        return None;
    };
    let mut body = lambda.body.as_ref().clone();
    let json = Expr::Identifier(parameter.name.clone());
    let member = first_operand(&mut body);
    if !matches!(member, Expr::Value(_)) {
        return None;
    }
    *member = super::names::call("json_get", vec![json, member.clone()]);
    Some(body)
}

/// What stands first in `expr`, among operators that bind weaker than those of JSON and calls that
/// stand for these.
fn first_operand(expr: &mut Expr) -> &mut Expr {
    let is_json = |call: &Function| {
        call.name.to_string().starts_with("json_")
            && matches!(&call.args, FunctionArguments::List(list)
                if matches!(list.args.first(), Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(_)))))
    };
    let descends = match expr {
        Expr::BinaryOp { op, .. } => !binds_stronger(op),
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. } => true,
        Expr::Function(call) => is_json(call),
        _ => false,
    };
    if !descends {
        return expr;
    }
    match expr {
        Expr::BinaryOp { left: first, .. }
        | Expr::IsNull(first)
        | Expr::IsNotNull(first)
        | Expr::InList { expr: first, .. }
        | Expr::InSubquery { expr: first, .. }
        | Expr::Between { expr: first, .. }
        | Expr::Like { expr: first, .. }
        | Expr::ILike { expr: first, .. } => first_operand(first),
        Expr::Function(Function {
            args: FunctionArguments::List(list),
            ..
        }) => match list.args.first_mut() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) => first_operand(first),
            _ => unreachable!("a call of JSON begins with an expression"),
        },
        other => other,
    }
}

/// Whether `op` binds its operands before an operator of JSON does, as in PostgreSQL.
fn binds_stronger(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
    )
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

/// `x ILIKE ANY ('a', 'b')` is `x ILIKE 'a' OR x ILIKE 'b'`.
fn like_any(expr: &mut Expr) -> Result<(), Refusal> {
    let span = expr.span();
    let (Expr::Like { any, pattern, .. } | Expr::ILike { any, pattern, .. }) = expr else {
        return Ok(());
    };
    *any = false;
    let patterns = match pattern.as_ref() {
        Expr::Tuple(patterns) => patterns.clone(),
        Expr::Nested(pattern) => vec![pattern.as_ref().clone()],
        Expr::Array(array) => array.elem.clone(),
        _ => {
            let message = "LIKE ANY takes a list of patterns: x LIKE ANY ('a%', 'b%')";
            return Err((message.to_owned(), span));
        }
    };
    let whole = expr.clone();
    let each = patterns.into_iter().map(|each| {
        let mut one = whole.clone();
        if let Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } = &mut one {
            **pattern = each;
        }
        one
    });
    // NOT LIKE ANY is true where one pattern does not match.
    let any = each.reduce(|left, right| binary(left, BinaryOperator::Or, right));
    if let Some(any) = any {
        *expr = nested(any);
    }
    Ok(())
}

/// `(a, b) OVERLAPS (c, d)`: whether the spans share a time, ends left out; a span may be given
/// from either end.
fn overlaps(left: &Expr, right: &Expr) -> Result<Expr, Refusal> {
    let ends = |expr: &Expr| match expr {
        Expr::Tuple(ends) if ends.len() == 2 => {
            let of = |name: &str| super::names::call(name, ends.clone());
            Ok((of("least"), of("greatest")))
        }
        _ => Err((
            "OVERLAPS compares two spans: (start, end) OVERLAPS (start, end)".to_owned(),
            expr.span(),
        )),
    };
    let ((from, until), (other_from, other_until)) = (ends(left)?, ends(right)?);
    // Spans that begin together share that instant, even where one of them is no longer than it.
    let together = binary(from.clone(), BinaryOperator::Eq, other_from.clone());
    let before = binary(from, BinaryOperator::Lt, other_until);
    let after = binary(other_from, BinaryOperator::Lt, until);
    let crossing = nested(binary(before, BinaryOperator::And, after));
    Ok(nested(binary(together, BinaryOperator::Or, crossing)))
}

/// FETCH FIRST and TOP are LIMIT.
fn limit(query: &mut Query) -> Result<(), Refusal> {
    let one = || Expr::Value(Value::Number("1".to_owned(), false).into());
    if let Some(fetch) = query.fetch.take() {
        let Fetch {
            with_ties,
            percent,
            quantity,
        } = fetch;
        if with_ties || percent {
            let message = "FETCH FIRST takes a number of rows; write rank() OVER (ORDER BY …) <= 10 for WITH TIES";
            return Err((message.to_owned(), query.span()));
        }
        set_limit(query, quantity.unwrap_or_else(one))?;
    }
    let top = match query.body.as_mut() {
        SetExpr::Select(select) => select.top.take(),
        _ => None,
    };
    if let Some(top) = top {
        if top.with_ties || top.percent {
            let message =
                "TOP takes a number of rows; write rank() OVER (ORDER BY …) <= 10 for WITH TIES";
            return Err((message.to_owned(), query.span()));
        }
        let rows = match top.quantity {
            Some(TopQuantity::Expr(rows)) => rows,
            Some(TopQuantity::Constant(rows)) => {
                Expr::Value(Value::Number(rows.to_string(), false).into())
            }
            None => one(),
        };
        set_limit(query, rows)?;
    }
    Ok(())
}

fn set_limit(query: &mut Query, rows: Expr) -> Result<(), Refusal> {
    let offset: Option<Offset> = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset {
            limit: None,
            offset,
            limit_by,
        }) if limit_by.is_empty() => offset,
        Some(_) => {
            let message = "a query takes one of LIMIT, FETCH FIRST and TOP";
            return Err((message.to_owned(), query.span()));
        }
    };
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(rows),
        offset,
        limit_by: vec![],
    });
    Ok(())
}

/// ORDER BY ALL is by every column from the first to the last.
fn order_by_all(query: &mut Query) -> Result<(), Refusal> {
    let span = query.span();
    let Some(order_by) = &mut query.order_by else {
        return Ok(());
    };
    let options = match &order_by.kind {
        OrderByKind::All(options) => options,
        OrderByKind::Expressions(exprs) => match &exprs[..] {
            [only] if is_all(&only.expr) => &only.options,
            _ => return Ok(()),
        },
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(no_columns(span));
    };
    let is_one = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    if !select.projection.iter().all(is_one) {
        return Err(no_columns(span));
    }
    let positions = (1..=select.projection.len()).map(|position| OrderByExpr {
        expr: Expr::Value(Value::Number(position.to_string(), false).into()),
        options: *options,
        with_fill: None,
    });
    order_by.kind = OrderByKind::Expressions(positions.collect());
    Ok(())
}

/// ALL without quotes is reserved, so that no column is called by it.
fn is_all(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(name)
        if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all"))
}

fn no_columns(span: Span) -> Refusal {
    let message = "ORDER BY ALL needs a select list that names its columns; write them in ORDER BY";
    (message.to_owned(), span)
}
