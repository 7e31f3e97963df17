//! Functions under the names that PostgreSQL, DuckDB and Spark have for them, in words of the
//! planner.
//!
//! A call that only has another name is renamed; one that can be said by other functions is written
//! out by a template. Where engines mean different things by one name, a call is refused with what
//! to write for each meaning.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, Interval, NullTreatment, ObjectName,
    OrderByExpr, OrderByOptions, UnaryOperator, Value, VisitMut as _, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

use super::refusals::Refusal;
use crate::functions::shift;

/// Another name for the same function.
const RENAMED: &[(&str, &str)] = &[
    ("approx_count_distinct", "approx_distinct"),
    ("approx_quantile", "approx_percentile_cont"),
    ("array_size", "array_length"),
    ("ceiling", "ceil"),
    ("char", "chr"),
    ("every", "bool_and"),
    ("first", "first_value"),
    ("gen_random_uuid", "uuid"),
    ("json_array_length", "json_length"),
    ("last", "last_value"),
    ("lcase", "lower"),
    ("len", "length"),
    ("list", "array_agg"),
    ("logical_and", "bool_and"),
    ("logical_or", "bool_or"),
    ("pg_typeof", "arrow_typeof"),
    ("replicate", "repeat"),
    ("sign", "signum"),
    ("size", "cardinality"),
    ("strlen", "octet_length"),
    ("truncate", "trunc"),
    ("typeof", "arrow_typeof"),
    ("ucase", "upper"),
    ("unix_timestamp", "to_unixtime"),
    ("variance", "var_samp"),
];

/// Calls written out by other functions: the name, how many arguments it has, and what it stands
/// for.
const TEMPLATES: &[(&str, usize, &str)] = &[
    ("curdate", 0, "current_date()"),
    ("date", 1, "CAST($arg1 AS DATE)"),
    ("day", 1, "date_part('day', $arg1)"),
    ("dayname", 1, "to_char($arg1, '%A')"),
    ("dayofmonth", 1, "date_part('day', $arg1)"),
    ("dayofyear", 1, "date_part('doy', $arg1)"),
    ("epoch", 1, "date_part('epoch', $arg1)"),
    ("getdate", 0, "now()"),
    ("hour", 1, "date_part('hour', $arg1)"),
    ("if", 3, "CASE WHEN $arg1 THEN $arg2 ELSE $arg3 END"),
    ("iff", 3, "CASE WHEN $arg1 THEN $arg2 ELSE $arg3 END"),
    ("iif", 3, "CASE WHEN $arg1 THEN $arg2 ELSE $arg3 END"),
    ("isnull", 1, "($arg1 IS NULL)"),
    ("isnull", 2, "coalesce($arg1, $arg2)"),
    (
        "isodow",
        1,
        "(CAST(date_part('dow', $arg1) + 6 AS BIGINT) % 7 + 1)",
    ),
    (
        "last_day",
        1,
        "CAST(date_trunc('month', $arg1) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)",
    ),
    ("charindex", 2, "strpos($arg2, $arg1)"),
    ("locate", 2, "strpos($arg2, $arg1)"),
    ("mid", 3, "substr($arg1, $arg2, $arg3)"),
    ("minute", 1, "date_part('minute', $arg1)"),
    ("mod", 2, "($arg1 % $arg2)"),
    ("month", 1, "date_part('month', $arg1)"),
    ("monthname", 1, "to_char($arg1, '%B')"),
    ("nullifzero", 1, "nullif($arg1, 0)"),
    ("quarter", 1, "date_part('quarter', $arg1)"),
    ("rlike", 2, "regexp_like($arg1, $arg2)"),
    (
        "safe_divide",
        2,
        "(CAST($arg1 AS DOUBLE) / nullif(CAST($arg2 AS DOUBLE), 0))",
    ),
    ("second", 1, "date_part('second', $arg1)"),
    ("space", 1, "repeat(' ', $arg1)"),
    ("strftime", 2, "to_char($arg1, $arg2)"),
    (
        "try_divide",
        2,
        "(CAST($arg1 AS DOUBLE) / nullif(CAST($arg2 AS DOUBLE), 0))",
    ),
    ("week", 1, "date_part('week', $arg1)"),
    ("weekofyear", 1, "date_part('week', $arg1)"),
    (
        "width_bucket",
        4,
        "CASE WHEN $arg2 <= $arg3 THEN CASE WHEN $arg1 < $arg2 THEN 0 WHEN $arg1 >= $arg3 THEN CAST($arg4 AS BIGINT) + 1 ELSE CAST(floor((CAST($arg1 AS DOUBLE) - $arg2) * $arg4 / (CAST($arg3 AS DOUBLE) - $arg2)) AS BIGINT) + 1 END ELSE CASE WHEN $arg1 > $arg2 THEN 0 WHEN $arg1 <= $arg3 THEN CAST($arg4 AS BIGINT) + 1 ELSE CAST(floor(($arg2 - CAST($arg1 AS DOUBLE)) * $arg4 / (CAST($arg2 AS DOUBLE) - $arg3)) AS BIGINT) + 1 END END",
    ),
    ("year", 1, "date_part('year', $arg1)"),
    ("zeroifnull", 1, "coalesce($arg1, 0)"),
];

/// Names that are written without brackets.
const WORDS: &[(&str, &str)] = &[
    ("current_catalog", "'isobar'"),
    ("current_database", "'isobar'"),
    ("current_schema", "'lake'"),
    ("current_user", "'isobar'"),
    ("localtime", "CAST(current_time() AS TIME)"),
    ("localtimestamp", "CAST(now() AS TIMESTAMP)"),
    ("session_user", "'isobar'"),
    ("sysdate", "now()"),
    ("user", "'isobar'"),
];

/// What to write in place of a function that is not there.
const HINTS: &[(&str, &str)] = &[
    ("add_months", "x + INTERVAL '3 months'"),
    ("age", "end - start, or date_diff('year', start, end)"),
    ("convert_timezone", "x AT TIME ZONE 'Europe/Paris'"),
    (
        "dayofweek",
        "date_part('dow', x), where Sunday is 0 (DuckDB's), or date_part('dow', x) + 1 (Spark's)",
    ),
    ("div", "trunc(a / b)"),
    (
        "epoch_ms",
        "CAST(date_part('epoch', x) * 1000 AS BIGINT), or to_timestamp_millis(n)",
    ),
    ("explode", "unnest(x)"),
    ("format", "concat(…), or to_char(…)"),
    ("from_iso8601_timestamp", "to_timestamp(x)"),
    ("months_between", "date_diff('month', start, end)"),
    ("parse_datetime", "to_timestamp(x, format)"),
    (
        "percentile",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY x)",
    ),
    ("printf", "concat(…), or to_char(…)"),
    ("regexp_extract", "(regexp_match(x, pattern))[1]"),
    (
        "regexp_matches",
        "regexp_match(x, pattern), or regexp_like(x, pattern)",
    ),
    ("strptime", "to_timestamp(x, format)"),
    ("timestampadd", "x + INTERVAL '1 day'"),
    ("timestampdiff", "date_diff('day', start, end)"),
    ("to_number", "CAST(x AS DOUBLE)"),
    ("try_to_number", "TRY_CAST(x AS DOUBLE)"),
    (
        "weekday",
        "date_part('dow', x), where Sunday is 0, or isodow(x), where Monday is 1",
    ),
];

/// Rewrites `expr`, when it is a call that has a place in this file.
pub(super) fn rewrite(expr: &mut Expr) -> Result<(), Refusal> {
    if let Expr::Identifier(name) = expr
        && name.quote_style.is_none()
        && let Some(word) = entry(WORDS, &name.value)
        && is_reserved(&name.value)
    {
        *expr = parsed(word)?;
        return Ok(());
    }
    let Expr::Function(call) = expr else {
        return Ok(());
    };
    let Some((name, span)) = name_of(call) else {
        return Ok(());
    };
    let name = name.as_str();
    let has_no_arguments = matches!(call.args, FunctionArguments::None)
        || arguments(call).is_some_and(<[_]>::is_empty);
    if has_no_arguments && let Some(word) = entry(WORDS, name) {
        *expr = parsed(word)?;
        return Ok(());
    }
    if let Some(hint) = entry(HINTS, name) {
        return Err((format!("there is no function {name}; write {hint}"), span));
    }
    if has_no_arguments && matches!(name, "first_value" | "last_value" | "nth_value") {
        return Err((format!("{name}() needs a value: {name}(x)"), span));
    }
    if name == "nth_value" && counts_from_the_end(call) {
        let message = "nth_value counts from 1; write last_value, or nth_value(x, n) OVER (… ORDER BY … DESC), to count from the end";
        return Err((message.to_owned(), span));
    }
    change(call, name);
    if let Some(written) = written_out(call, name, span)? {
        *expr = written;
    }
    Ok(())
}

/// Whether the second argument is a negative number.
fn counts_from_the_end(call: &Function) -> bool {
    let arguments = plain_arguments(call).unwrap_or_default();
    let is_negative = |expr: &Expr| {
        matches!(
            expr,
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                ..
            }
        )
    };
    arguments.get(1).is_some_and(is_negative)
}

/// Calls that stay calls, of another function or with other arguments.
fn change(call: &mut Function, name: &str) {
    if let Some(renamed) = entry(RENAMED, name) {
        return rename(call, renamed);
    }
    let by = |ascending| OrderByOptions {
        asc: Some(ascending),
        nulls_first: Some(false),
    };
    match name {
        "lead" | "lag" => shift_ignoring_nulls(call, name),
        "max_by" => first_by(call, by(false), HasNulls::Yes),
        "min_by" => first_by(call, by(true), HasNulls::Yes),
        "arg_max" | "argmax" => first_by(call, by(false), HasNulls::No),
        "arg_min" | "argmin" => first_by(call, by(true), HasNulls::No),
        "mode" => within_group_as_argument(call),
        "median" => median(call),
        "percentile_disc" | "quantile_disc" => quantile(call),
        "listagg" | "list_agg" | "group_concat" => joined_texts(call),
        "collect_list" => collected(call, None),
        "collect_set" => collected(call, Some(DuplicateTreatment::Distinct)),
        "regexp_replace" => postgres_replacement(call),
        _ => {}
    }
}

/// Gives the replacement of `regexp_replace` PostgreSQL's meaning: `\1` is a group, `\&` the match,
/// `\\` a backslash, and `$`, by which DataFusion names groups too, is a character. Of a
/// replacement that is computed only `$` is made one.
fn postgres_replacement(call: &mut Function) {
    let FunctionArguments::List(list) = &mut call.args else {
        return;
    };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(replacement))) = list.args.get_mut(2)
    else {
        return;
    };
    if let Expr::Value(value) = replacement
        && let Value::SingleQuotedString(text) = &mut value.value
    {
        *text = template_of(text);
    } else if let Ok(escaped) = filled("replace($arg1, '$', '$$')", vec![replacement.clone()]) {
        *replacement = escaped;
    }
}

/// A replacement of PostgreSQL as DataFusion reads it.
fn template_of(replacement: &str) -> String {
    let mut template = String::with_capacity(replacement.len());
    let mut rest = replacement.chars().peekable();
    while let Some(character) = rest.next() {
        match (character, rest.peek()) {
            ('$', _) => template.push_str("$$"),
            ('\\', Some('&')) => {
                rest.next();
                template.push_str("${0}");
            }
            ('\\', Some('\\')) => {
                rest.next();
                template.push('\\');
                // A group that no pattern has, and so nothing: a digit behind it names no group.
                template.push_str("${__none}");
            }
            _ => template.push(character),
        }
    }
    template
}

/// Calls that become another expression.
fn written_out(call: &Function, name: &str, span: Span) -> Result<Option<Expr>, Refusal> {
    let written = match name {
        "count_if" | "countif" => count_if(call),
        "array_agg" | "list" | "string_agg" | "listagg" | "list_agg" | "group_concat" => {
            ordered_distinct(call)
        }
        "datediff" | "date_diff" => date_diff(call)?,
        "date_add" | "date_sub" | "dateadd" | "datesub" => add_interval(call, name, span)?,
        "strftime" => strftime(call)?,
        "json_extract" | "json_extract_path" | "json_query" => json_path(call, "json_get", span)?,
        "json_extract_scalar"
        | "json_extract_string"
        | "json_value"
        | "get_json_object"
        | "json_extract_path_text" => json_path(call, "json_as_text", span)?,
        _ => None,
    };
    match written {
        Some(written) => Ok(Some(written)),
        None => template(call, name),
    }
}

/// Whether a call of this name is rewritten to something else, so that its column keeps the name as
/// it is written.
pub(super) fn is_rewritten(call: &Function) -> bool {
    name_of(call).is_some_and(|(name, _)| {
        let name = name.as_str();
        ordered_distinct(call).is_some()
            || entry(RENAMED, name).is_some()
            || entry(WORDS, name).is_some()
            || TEMPLATES.iter().any(|(known, _, _)| *known == name)
            || matches!(
                name,
                "count_if"
                    | "countif"
                    | "median"
                    | "max_by"
                    | "arg_max"
                    | "argmax"
                    | "min_by"
                    | "arg_min"
                    | "argmin"
                    | "listagg"
                    | "list_agg"
                    | "group_concat"
                    | "collect_list"
                    | "collect_set"
                    | "datediff"
                    | "date_diff"
                    | "dateadd"
                    | "datesub"
                    | "json_extract"
                    | "json_extract_scalar"
                    | "json_extract_string"
                    | "json_value"
                    | "get_json_object"
                    | "json_query"
                    | "json_extract_path"
                    | "json_extract_path_text"
            )
    })
}

fn entry(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let mut table = table.iter();
    let found = table.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, found)| *found)
}

/// Words that no column can be called by without quotes in PostgreSQL, so that they are no columns
/// here either.
fn is_reserved(name: &str) -> bool {
    [
        "current_user",
        "current_catalog",
        "session_user",
        "localtime",
        "localtimestamp",
    ]
    .iter()
    .any(|word| word.eq_ignore_ascii_case(name))
}

fn name_of(call: &Function) -> Option<(String, Span)> {
    match &call.name.0[..] {
        [part] => {
            let name = part.as_ident()?;
            Some((name.value.to_lowercase(), name.span))
        }
        _ => None,
    }
}

fn rename(call: &mut Function, name: &str) {
    let span = name_of(call).map_or_else(Span::empty, |(_, span)| span);
    let mut ident = Ident::new(name);
    ident.span = span;
    call.name = ObjectName::from(vec![ident]);
}

fn arguments(call: &Function) -> Option<&[FunctionArg]> {
    match &call.args {
        FunctionArguments::List(list) => Some(&list.args),
        FunctionArguments::None | FunctionArguments::Subquery(_) => None,
    }
}

/// The arguments of a plain call: no names, no DISTINCT, no ORDER BY.
fn plain_arguments(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

fn template(call: &Function, name: &str) -> Result<Option<Expr>, Refusal> {
    let Some(arguments) = plain_arguments(call) else {
        return Ok(None);
    };
    let mut templates = TEMPLATES.iter();
    let found = templates.find(|(known, count, _)| *known == name && *count == arguments.len());
    match found {
        Some((_, _, template)) => filled(template, arguments).map(Some),
        None => Ok(None),
    }
}

/// A template with `arguments` in place of `$arg1`, `$arg2` ….
fn filled(template: &str, arguments: Vec<Expr>) -> Result<Expr, Refusal> {
    struct Fill(Vec<Expr>);
    impl VisitorMut for Fill {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Value(value) = expr
                && let Value::Placeholder(name) = &value.value
                && let Some(number) = name.strip_prefix("$arg")
                && let Ok(number) = number.parse::<usize>()
                && let Some(argument) = self.0.get(number - 1)
            {
                *expr = Expr::Nested(Box::new(argument.clone()));
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = parsed(template)?;
    let _ = expr.visit(&mut Fill(arguments));
    Ok(expr)
}

fn parsed(text: &str) -> Result<Expr, Refusal> {
    Parser::new(&GenericDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|error| (error.to_string(), Span::empty()))
}

/// IGNORE NULLS of lead and lag is a function of its own, see [`shift`].
fn shift_ignoring_nulls(call: &mut Function, name: &str) {
    let in_clauses = |call: &mut Function| {
        let FunctionArguments::List(list) = &mut call.args else {
            return false;
        };
        let before = list.clauses.len();
        list.clauses.retain(|clause| {
            !matches!(
                clause,
                FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls)
            )
        });
        before > list.clauses.len()
    };
    let ignores = call.null_treatment == Some(NullTreatment::IgnoreNulls) || in_clauses(call);
    if ignores {
        call.null_treatment = None;
        rename(
            call,
            if name == "lead" {
                shift::LEAD
            } else {
                shift::LAG
            },
        );
    }
}

/// `value = ANY(list)`, which is null where a null of the list could be the value. The planner's
/// `array_has` is false then.
pub(super) fn is_in_list(value: &Expr, list: &Expr) -> Result<Expr, Refusal> {
    let template = "CASE WHEN array_has($arg2, $arg1) THEN true WHEN array_position($arg2, NULL) IS NOT NULL THEN NULL ELSE array_has($arg2, $arg1) END";
    filled(template, vec![value.clone(), list.clone()])
}

/// `array_agg(DISTINCT x ORDER BY x DESC)` sorts the list of distinct values: DataFusion orders
/// such an aggregate the other way round beside one with the opposite order.
fn ordered_distinct(call: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let [FunctionArgumentClause::OrderBy(orders)] = &list.clauses[..] else {
        return None;
    };
    let ([order], Some(DuplicateTreatment::Distinct), None) =
        (&orders[..], list.duplicate_treatment, &call.over)
    else {
        return None;
    };
    let mut arguments = Vec::new();
    for argument in &list.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument else {
            return None;
        };
        arguments.push(argument);
    }
    let (value, separator) = match (&arguments[..], name_of(call)?.0.as_str()) {
        ([value], "array_agg") => (*value, None),
        ([value, separator], "string_agg") => (*value, Some((*separator).clone())),
        _ => return None,
    };
    if order.expr != *value {
        return None;
    }
    let is_ascending = order.options.asc.unwrap_or(true);
    let nulls_first = order.options.nulls_first.unwrap_or(!is_ascending);
    let mut distinct = call.clone();
    rename(&mut distinct, "array_agg");
    if let FunctionArguments::List(list) = &mut distinct.args {
        list.clauses.clear();
        list.args.truncate(1);
    }
    let text = |text: &str| Expr::Value(Value::SingleQuotedString(text.to_owned()).into());
    let sorted = super::names::call(
        "array_sort",
        vec![
            Expr::Function(distinct),
            text(if is_ascending { "ASC" } else { "DESC" }),
            text(if nulls_first {
                "NULLS FIRST"
            } else {
                "NULLS LAST"
            }),
        ],
    );
    Some(match separator {
        Some(separator) => super::names::call("array_to_string", vec![sorted, separator]),
        None => sorted,
    })
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(left))),
        op: BinaryOperator::And,
        right: Box::new(Expr::Nested(Box::new(right))),
    }
}

/// `count_if(c)` is `count(*) FILTER (WHERE c)`.
fn count_if(call: &Function) -> Option<Expr> {
    let [condition] = &plain_arguments(call)?[..] else {
        return None;
    };
    let mut count = call.clone();
    rename(&mut count, "count");
    if let FunctionArguments::List(list) = &mut count.args {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)];
    }
    let condition = condition.clone();
    count.filter = Some(Box::new(match count.filter {
        Some(filter) => and(*filter, condition),
        None => condition,
    }));
    Some(Expr::Function(count))
}

/// Whether the value that a call returns may be null.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HasNulls {
    Yes,
    No,
}

/// `max_by(x, y)` is the first `x` by `y`, of the rows that have a `y`, as in Spark; `arg_max(x,
/// y)` is of the rows that have both, as in DuckDB.
fn first_by(call: &mut Function, options: OrderByOptions, nulls: HasNulls) {
    let Some(arguments) = plain_arguments(call) else {
        return;
    };
    let [value, by] = &arguments[..] else {
        return;
    };
    rename(call, "first_value");
    if let FunctionArguments::List(list) = &mut call.args {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value.clone()))];
        list.clauses = vec![FunctionArgumentClause::OrderBy(vec![OrderByExpr {
            expr: by.clone(),
            options,
            with_fill: None,
        }])];
    }
    let mut is_there = Expr::IsNotNull(Box::new(by.clone()));
    if nulls == HasNulls::No {
        is_there = and(is_there, Expr::IsNotNull(Box::new(value.clone())));
    }
    call.filter = Some(Box::new(match call.filter.take() {
        Some(filter) => and(*filter, is_there),
        None => is_there,
    }));
}

/// `median(x)` is the percentile in the middle: DataFusion's cuts that of whole numbers and
/// decimals to their type.
fn median(call: &mut Function) {
    let Some(arguments) = plain_arguments(call) else {
        return;
    };
    let [value] = &arguments[..] else {
        return;
    };
    if call.over.is_some() || !call.within_group.is_empty() {
        return;
    }
    let order = OrderByExpr {
        expr: value.clone(),
        options: OrderByOptions {
            asc: None,
            nulls_first: None,
        },
        with_fill: None,
    };
    rename(call, "percentile_cont");
    if let FunctionArguments::List(list) = &mut call.args {
        let half = Expr::Value(Value::Number("0.5".to_owned(), false).into());
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(half))];
    }
    call.within_group = vec![order];
}

/// `mode() WITHIN GROUP (ORDER BY x)` is `mode(x)`.
fn within_group_as_argument(call: &mut Function) {
    if let [order] = &call.within_group[..]
        && let FunctionArguments::List(list) = &mut call.args
        && list.args.is_empty()
    {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(
            order.expr.clone(),
        ))];
        call.within_group = vec![];
    }
}

/// `percentile_disc(0.5) WITHIN GROUP (ORDER BY x)` is DuckDB's `quantile_disc(x, 0.5)`; descending
/// it counts from the end.
fn quantile(call: &mut Function) {
    rename(call, "quantile_disc");
    let Some(arguments) = plain_arguments(call) else {
        return;
    };
    if let ([order], [share]) = (&call.within_group[..], &arguments[..])
        && let FunctionArguments::List(list) = &mut call.args
    {
        let argument = |expr: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
        list.args = vec![argument(order.expr.clone()), argument(share.clone())];
        if order.options.asc == Some(false) {
            let descending = Value::SingleQuotedString("desc".to_owned());
            list.args.push(argument(Expr::Value(descending.into())));
        }
        call.within_group = vec![];
    }
}

/// Other names of `string_agg`, whose separator is a comma unless it is given.
fn joined_texts(call: &mut Function) {
    rename(call, "string_agg");
    let order = std::mem::take(&mut call.within_group);
    let FunctionArguments::List(list) = &mut call.args else {
        return;
    };
    if !order.is_empty() {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    let mut separator = None;
    list.clauses.retain(|clause| match clause {
        FunctionArgumentClause::Separator(value) => {
            separator = Some(value.clone());
            false
        }
        _ => true,
    });
    if list.args.len() == 1 {
        let comma = Value::SingleQuotedString(",".to_owned()).into();
        let separator = Expr::Value(separator.unwrap_or(comma));
        list.args
            .push(FunctionArg::Unnamed(FunctionArgExpr::Expr(separator)));
    }
}

/// Spark's `collect_list` and `collect_set` leave nulls out.
fn collected(call: &mut Function, duplicates: Option<DuplicateTreatment>) {
    let Some(arguments) = plain_arguments(call) else {
        return;
    };
    let [value] = &arguments[..] else {
        return;
    };
    rename(call, "array_agg");
    if let FunctionArguments::List(list) = &mut call.args {
        list.duplicate_treatment = duplicates;
    }
    let is_there = Expr::IsNotNull(Box::new(value.clone()));
    call.filter = Some(Box::new(match call.filter.take() {
        Some(filter) => and(*filter, is_there),
        None => is_there,
    }));
}

/// `datediff(end, start)` counts days, as in Spark and MySQL; with a unit, which may be a bare
/// word, it is DuckDB's.
fn date_diff(call: &Function) -> Result<Option<Expr>, Refusal> {
    let Some(mut arguments) = plain_arguments(call) else {
        return Ok(None);
    };
    match arguments.len() {
        2 => filled("date_diff('day', $arg2, $arg1)", arguments).map(Some),
        3 => {
            if let Expr::Identifier(unit) = &arguments[0] {
                let unit = Value::SingleQuotedString(unit.value.to_lowercase());
                arguments[0] = Expr::Value(unit.into());
            }
            filled("date_diff($arg1, $arg2, $arg3)", arguments).map(Some)
        }
        _ => Ok(None),
    }
}

/// `date_add(x, INTERVAL …)` and `dateadd(unit, 3, x)` are sums; `date_add(x, 3)` adds days by a
/// function of ours.
fn add_interval(call: &Function, name: &str, span: Span) -> Result<Option<Expr>, Refusal> {
    let Some(arguments) = plain_arguments(call) else {
        return Ok(None);
    };
    let is_sub = name.ends_with("sub");
    let sum = if is_sub {
        "($arg1 - $arg2)"
    } else {
        "($arg1 + $arg2)"
    };
    match &arguments[..] {
        [_, Expr::Interval(Interval { .. })] => filled(sum, arguments).map(Some),
        [_, _] => {
            let name = if is_sub {
                "date_sub($arg1, $arg2)"
            } else {
                "date_add($arg1, $arg2)"
            };
            filled(name, arguments).map(Some)
        }
        [unit, count, instant] => {
            let unit = match unit {
                Expr::Identifier(unit) => unit.value.to_lowercase(),
                Expr::Value(value) => match &value.value {
                    Value::SingleQuotedString(unit) => unit.to_lowercase(),
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            };
            let count = count.to_string();
            if count.parse::<i64>().is_err() || !unit.chars().all(|c| c.is_ascii_alphabetic()) {
                let message =
                    format!("{name} takes a whole number literally; write x + INTERVAL '3 {unit}'");
                return Err((message, span));
            }
            let interval = parsed(&format!("INTERVAL '{count} {unit}'"))?;
            filled(sum, vec![instant.clone(), interval]).map(Some)
        }
        _ => Ok(None),
    }
}

/// DuckDB takes the pattern on either side.
fn strftime(call: &Function) -> Result<Option<Expr>, Refusal> {
    let Some(arguments) = plain_arguments(call) else {
        return Ok(None);
    };
    let is_text = |expr: &Expr| matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
    match &arguments[..] {
        [pattern, instant] if is_text(pattern) && !is_text(instant) => {
            filled("to_char($arg2, $arg1)", arguments).map(Some)
        }
        _ => Ok(None),
    }
}

/// A path of JSON (`$.main.temp`, `$.list[0].dt`) as the arguments of a function of JSON.
fn json_path(call: &Function, function: &str, span: Span) -> Result<Option<Expr>, Refusal> {
    let Some(arguments) = plain_arguments(call) else {
        return Ok(None);
    };
    let [json, Expr::Value(path)] = &arguments[..] else {
        return Ok(None);
    };
    let Value::SingleQuotedString(path) = &path.value else {
        return Ok(None);
    };
    let wrong = || {
        let message =
            format!("\"{path}\" is not a path of names and positions such as $.list[0].dt");
        (message, span)
    };
    let mut steps = String::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        let (step, after) = json_step(rest).ok_or_else(wrong)?;
        steps.push_str(", ");
        steps.push_str(&step);
        rest = after;
    }
    filled(&format!("{function}($arg1{steps})"), vec![json.clone()]).map(Some)
}

/// The first step of a path (`.name`, `."na.me"`, `[0]`, `['na.me']`) as an argument, and what
/// follows it.
fn json_step(path: &str) -> Option<(String, &str)> {
    let named = |name: &str| format!("'{}'", name.replace('\'', "''"));
    if let Some(inner) = path.strip_prefix('[') {
        let (step, after) = if let Some((name, after)) = quoted(inner) {
            (named(name), after)
        } else {
            let (position, after) = inner.split_at(inner.find(']')?);
            (position.parse::<usize>().ok()?.to_string(), after)
        };
        return Some((step, after.strip_prefix(']')?));
    }
    let name = path.strip_prefix('.').unwrap_or(path);
    if let Some((name, after)) = quoted(name) {
        return Some((named(name), after));
    }
    let (name, after) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
    (!name.is_empty() && !name.contains('*')).then(|| (named(name), after))
}

/// A name in quotation marks, which may have points in it, and what follows it.
fn quoted(path: &str) -> Option<(&str, &str)> {
    let mark = path
        .chars()
        .next()
        .filter(|mark| matches!(mark, '"' | '\''))?;
    path[1..].split_once(mark)
}
