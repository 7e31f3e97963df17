//! Types of instants and days where they meet one another, texts and intervals.
//!
//! DataFusion compares an instant with a text or a day in nanoseconds, which reach from 1677 to
//! 2262: against a literal such as `'9999-12-31'` a statement cannot be planned, and with a day of
//! that year it fails at the first row. A DATE plus an interval stays a DATE there, so that hours
//! are lost (`DATE '2026-01-31' + INTERVAL '36 hours'`). This rule runs before its type coercion
//! and gives both sides the type that they should have, microseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::functions::math::expr_fn::trunc;
use datafusion::logical_expr::expr::{
    Between, BinaryExpr, Cast, InList, InSubquery, ScalarFunction, WindowFunctionParams,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable as _, Join, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, Union,
    WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::intervals::date_diff::days_between;
use crate::functions::intervals::interval_scale::is_span;
use crate::functions::intervals::span_length::span_length;
use crate::functions::time::{day_time, local_time, with_seconds};
use crate::rules::schema_below;

#[derive(Debug)]
pub(in crate::rules) struct TimeTypes;

impl AnalyzerRule for TimeTypes {
    fn name(&self) -> &str {
        "time_types"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite_node)?.data)
    }
}

fn rewrite_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = schema_below(&plan)?;
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let rewritten = expression.transform_up(|expression| rewrite(expression, &schema))?;
        Ok(rewritten.update_data(|expression| name.restore(expression)))
    })?
    .map_data(|plan| match plan {
        LogicalPlan::Join(join) => keys_of(join).map(LogicalPlan::Join),
        LogicalPlan::Union(union) => branches_of(union).map(LogicalPlan::Union),
        other => Ok(other),
    })?
    .map_data(LogicalPlan::recompute_schema)
}

fn rewrite(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(binary) => rewrite_binary(binary, schema),
        Expr::Between(between) => rewrite_between(between, schema),
        Expr::InList(list) => rewrite_list(list, schema),
        Expr::InSubquery(subquery) => rewrite_subquery(subquery, schema),
        Expr::Case(mut case) => {
            let mut branches: Vec<&mut Box<Expr>> = case
                .when_then_expr
                .iter_mut()
                .map(|(_, then)| then)
                .collect();
            branches.extend(case.else_expr.as_mut());
            let types = branches.iter().map(|branch| type_of_value(branch, schema));
            let wanted = common_of_values(types.collect());
            let mut changed = false;
            for branch in branches {
                changed |= cast_in_place(branch, wanted.as_ref(), schema);
            }
            Ok(marked(Expr::Case(case), changed))
        }
        Expr::Cast(cast) => rewrite_cast(cast, schema),
        Expr::ScalarFunction(function) => rewrite_function(function, schema),
        Expr::WindowFunction(function) => {
            verify_frame(&function.params, schema)?;
            Ok(Transformed::no(Expr::WindowFunction(function)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// That a RANGE over days or instants is given by intervals. DataFusion takes a number for one of
/// months.
fn verify_frame(window: &WindowFunctionParams, schema: &DFSchema) -> Result<()> {
    let WindowFrame {
        units: WindowFrameUnits::Range,
        start_bound,
        end_bound,
        ..
    } = &window.window_frame
    else {
        return Ok(());
    };
    let is_time = window
        .order_by
        .first()
        .is_some_and(|key| type_of(&key.expr, schema).is_temporal());
    let is_number = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
            let text = distance.try_as_str().flatten();
            text.is_some_and(|text| text.trim().parse::<f64>().is_ok())
        }
        WindowFrameBound::CurrentRow => false,
    };
    if is_time && (is_number(start_bound) || is_number(end_bound)) {
        return plan_err!(
            "RANGE over days or instants takes intervals: write RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW"
        );
    }
    Ok(())
}

fn rewrite_binary(mut binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (left, right) = (
        type_of(&binary.left, schema),
        type_of(&binary.right, schema),
    );
    let mut changed = false;
    if binary.op == Operator::Minus && left == DataType::Date32 && right == DataType::Date32 {
        // DataFusion's analysis of ranges takes the difference for a duration, and fails where it
        // is compared.
        return Ok(Transformed::yes(days_between(*binary.right, *binary.left)));
    }
    if is_comparison(binary.op) {
        changed |= lengths_of([binary.left.as_mut(), binary.right.as_mut()], schema);
        let wanted = common(&left, &right);
        changed |= cast_in_place(&mut binary.left, wanted.as_ref(), schema);
        changed |= cast_in_place(&mut binary.right, wanted.as_ref(), schema);
    } else if matches!(binary.op, Operator::Plus | Operator::Minus) {
        if let Some(wanted) = type_of_day(&left, &right, &binary.right) {
            changed |= cast_in_place(&mut binary.left, Some(&wanted), schema);
        } else if let Some(wanted) = type_of_day(&right, &left, &binary.left) {
            changed |= cast_in_place(&mut binary.right, Some(&wanted), schema);
        }
        changed |= time_of_day_in_place(&left, &mut binary.right, &right);
        changed |= time_of_day_in_place(&right, &mut binary.left, &left);
    }
    Ok(marked(Expr::BinaryExpr(binary), changed))
}

/// What a DATE must be before `other` is added to or subtracted from it; `None` where it stays a
/// DATE.
///
/// An interval that is written out in whole days, months or years leaves a DATE one, so that `dt -
/// INTERVAL '1 day'` is a day and still chooses partitions. Any other may have hours, and makes a
/// time of it.
fn type_of_day(day: &DataType, other: &DataType, written: &Expr) -> Option<DataType> {
    if !matches!(day, DataType::Date32 | DataType::Date64) {
        return None;
    }
    match other {
        DataType::Interval(_) if is_whole_days(written) => None,
        DataType::Interval(_)
        | DataType::Duration(_)
        | DataType::Time32(_)
        | DataType::Time64(_) => Some(local_time()),
        DataType::Timestamp(unit, zone) => {
            Some(DataType::Timestamp(at_least_micros(*unit), zone.clone()))
        }
        _ => None,
    }
}

fn is_whole_days(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(value), _) => {
            value.is_none_or(|value| value.nanoseconds == 0)
        }
        Expr::Literal(ScalarValue::IntervalYearMonth(_), _) => true,
        Expr::Literal(ScalarValue::IntervalDayTime(value), _) => {
            value.is_none_or(|value| value.milliseconds == 0)
        }
        Expr::Negative(inner) => is_whole_days(inner),
        Expr::Alias(alias) => is_whole_days(&alias.expr),
        _ => false,
    }
}

/// Makes a duration of the time of day that is added to a day.
fn time_of_day_in_place(day: &DataType, time: &mut Box<Expr>, data_type: &DataType) -> bool {
    let is_day = matches!(day, DataType::Date32 | DataType::Date64);
    if !is_day || !matches!(data_type, DataType::Time32(_) | DataType::Time64(_)) {
        return false;
    }
    let steps = [
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Int64,
        DataType::Duration(TimeUnit::Microsecond),
    ];
    for step in steps {
        let inner = std::mem::take(time.as_mut());
        **time = Expr::Cast(Cast::new(Box::new(inner), step));
    }
    true
}

fn rewrite_between(mut between: Between, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let sides = [&between.expr, &between.low, &between.high];
    let wanted = common_of(&sides.map(|side| type_of(side, schema)));
    let sides = [&mut between.expr, &mut between.low, &mut between.high];
    let mut changed = lengths_of(sides.map(AsMut::as_mut), schema);
    for side in [&mut between.expr, &mut between.low, &mut between.high] {
        changed |= cast_in_place(side, wanted.as_ref(), schema);
    }
    Ok(marked(Expr::Between(between), changed))
}

fn rewrite_list(mut list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut types = vec![type_of(&list.expr, schema)];
    for value in &list.list {
        types.push(type_of(value, schema));
    }
    let wanted = common_of(&types);
    let mut changed = cast_in_place(&mut list.expr, wanted.as_ref(), schema);
    changed |= lengths_of(list.list.iter_mut().chain([list.expr.as_mut()]), schema);
    for value in &mut list.list {
        changed |= cast_in_place(value, wanted.as_ref(), schema);
    }
    Ok(marked(Expr::InList(list), changed))
}

fn rewrite_subquery(mut one: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let column = one.subquery.subquery.schema().field(0).data_type().clone();
    let wanted = common(&type_of(&one.expr, schema), &column);
    let mut changed = cast_in_place(&mut one.expr, wanted.as_ref(), schema);
    if let Some(wanted) = wanted
        && wanted != column
    {
        let inner = Arc::clone(&one.subquery.subquery);
        let (qualifier, field) = inner.schema().qualified_field(0);
        let column = Expr::from((qualifier, field)).cast_to(&wanted, inner.schema())?;
        let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(inner))
            .project([column])?
            .build()?;
        one.subquery = Subquery {
            subquery: Arc::new(plan),
            ..one.subquery
        };
        changed = true;
    }
    Ok(marked(Expr::InSubquery(one), changed))
}

/// Spans of time that are compared, one of them an interval, are compared by their lengths; says
/// whether they are.
fn lengths_of<'a>(sides: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> bool {
    let mut sides: Vec<_> = sides.into_iter().collect();
    let types: Vec<_> = sides.iter().map(|side| type_of(side, schema)).collect();
    let is_interval = |data_type: &DataType| matches!(data_type, DataType::Interval(_));
    let may_be_span =
        |data_type: &DataType| is_span(data_type) || data_type.is_string() || data_type.is_null();
    if !types.iter().any(is_interval) || !types.iter().all(may_be_span) {
        return false;
    }
    for side in &mut sides {
        **side = span_length(std::mem::take(*side));
    }
    true
}

/// A number that is cast to a time counts whole seconds, as DataFusion has it for whole numbers and
/// its own type of nanoseconds.
fn rewrite_cast(mut cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if matches!(cast.field.data_type(), DataType::Timestamp(..)) && complete(&mut cast.expr) {
        return Ok(Transformed::yes(Expr::Cast(cast)));
    }
    if let DataType::Timestamp(TimeUnit::Microsecond, zone) = cast.field.data_type()
        && let from = type_of(&cast.expr, schema)
        && from.is_numeric()
    {
        let seconds = DataType::Timestamp(TimeUnit::Second, zone.clone());
        if !from.is_integer() {
            let whole = trunc(vec![*cast.expr]);
            cast.expr = Box::new(Expr::Cast(Cast::new(Box::new(whole), DataType::Int64)));
        }
        cast.expr = Box::new(Expr::Cast(Cast::new(cast.expr, seconds)));
        return Ok(Transformed::yes(Expr::Cast(cast)));
    }
    Ok(Transformed::no(Expr::Cast(cast)))
}

fn rewrite_function(mut function: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    match function.func.name() {
        "coalesce" | "nullif" | "nvl" | "ifnull" | "nvl2" | "greatest" | "least" => {
            // The first argument of nvl2 is only looked at.
            let from = usize::from(function.func.name() == "nvl2");
            let mut types = Vec::new();
            for argument in &function.args[from..] {
                types.push(type_of_value(argument, schema));
            }
            let wanted = common_of_values(types);
            for argument in &mut function.args[from..] {
                changed |= cast_in_place(argument, wanted.as_ref(), schema);
            }
        }
        "date_part" => {
            if let [part, time] = function.args.as_mut_slice() {
                let data_type = type_of(time, schema);
                if data_type.is_string() {
                    changed = cast_in_place(time, Some(&local_time()), schema);
                } else if matches!(data_type, DataType::Duration(_)) && !is_epoch(part) {
                    *time = day_time::call(std::mem::take(time));
                    changed = true;
                }
            }
        }
        // Its lists are of nanoseconds.
        "range" | "generate_series" => {
            let made = Expr::ScalarFunction(function);
            if let DataType::List(item) = type_of(&made, schema)
                && let DataType::Timestamp(TimeUnit::Nanosecond, zone) = item.data_type()
            {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let list = DataType::List(Arc::new(item.as_ref().clone().with_data_type(micros)));
                return Ok(Transformed::yes(Expr::Cast(Cast::new(
                    Box::new(made),
                    list,
                ))));
            }
            return Ok(Transformed::no(made));
        }
        _ => {}
    }
    Ok(marked(Expr::ScalarFunction(function), changed))
}

/// The length of a duration is that of all its parts together.
fn is_epoch(part: &Expr) -> bool {
    matches!(part, Expr::Literal(part, _)
        if part.try_as_str().flatten().is_some_and(|part| part.eq_ignore_ascii_case("epoch")))
}

/// The keys of an equality join are pairs and no expressions of their own.
fn keys_of(mut join: Join) -> Result<Join> {
    let (left_schema, right_schema) = (
        Arc::clone(join.left.schema()),
        Arc::clone(join.right.schema()),
    );
    for (left, right) in &mut join.on {
        let wanted = common(&type_of(left, &left_schema), &type_of(right, &right_schema));
        cast_in_place(left, wanted.as_ref(), &left_schema);
        cast_in_place(right, wanted.as_ref(), &right_schema);
    }
    Ok(join)
}

fn branches_of(mut union: Union) -> Result<Union> {
    let width = union.schema.fields().len();
    if union
        .inputs
        .iter()
        .any(|input| input.schema().fields().len() != width)
    {
        return Ok(union);
    }
    let mut wanted = Vec::with_capacity(width);
    for column in 0..width {
        let types = union
            .inputs
            .iter()
            .map(|input| input.schema().field(column).data_type().clone());
        wanted.push(common_of_values(types.collect()));
    }
    for input in &mut union.inputs {
        *input = cast_columns(Arc::clone(input), &wanted)?;
    }
    union.schema = schema_of(&union)?;
    Ok(union)
}

/// The columns of `union`, those of times as its branches have them now.
fn schema_of(union: &Union) -> Result<DFSchemaRef> {
    let branch = union.inputs[0].schema();
    let fields = union.schema.iter().zip(branch.fields());
    let fields = fields.map(|((qualifier, field), present)| {
        let field = match present.data_type() {
            DataType::Timestamp(..) => field
                .as_ref()
                .clone()
                .with_data_type(present.data_type().clone()),
            _ => field.as_ref().clone(),
        };
        (qualifier.cloned(), Arc::new(field))
    });
    let metadata = union.schema.metadata().clone();
    DFSchema::new_with_metadata(fields.collect(), metadata).map(Arc::new)
}

/// `plan` with its columns in the types that are `wanted`.
fn cast_columns(plan: Arc<LogicalPlan>, wanted: &[Option<DataType>]) -> Result<Arc<LogicalPlan>> {
    let schema = Arc::clone(plan.schema());
    let differs = |column: usize, wanted: &Option<DataType>| {
        let present = schema.field(column).data_type();
        wanted
            .as_ref()
            .is_some_and(|wanted| wanted != present && !present.is_null())
    };
    if !wanted
        .iter()
        .enumerate()
        .any(|(column, wanted)| differs(column, wanted))
    {
        return Ok(plan);
    }
    let mut columns = Vec::with_capacity(wanted.len());
    for (column, wanted) in wanted.iter().enumerate() {
        let (qualifier, field) = schema.qualified_field(column);
        let expression = Expr::from((qualifier, field));
        columns.push(match wanted {
            Some(wanted) => {
                let cast = expression.cast_to(wanted, &schema)?;
                cast.alias_qualified(qualifier.cloned(), field.name())
            }
            None => expression,
        });
    }
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(plan)).project(columns)?;
    Ok(Arc::new(plan.build()?))
}

/// The type in which two values are compared, where at least one is a time and DataFusion would
/// take nanoseconds.
fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    common_of(&[left.clone(), right.clone()])
}

fn common_of(types: &[DataType]) -> Option<DataType> {
    let is_text = |data_type: &DataType| data_type.is_string();
    let rest: Vec<_> = types
        .iter()
        .filter(|data_type| !is_text(data_type))
        .cloned()
        .collect();
    let has_text = rest.len() < types.len();
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
    let mut wanted = common_of_values(rest.clone());
    if has_text && rest.iter().any(is_time) && rest.iter().all(|one| is_time(one) || one.is_null())
    {
        wanted = wanted.or_else(|| rest.into_iter().find(is_time));
        wanted = wanted.map(|wanted| match wanted {
            DataType::Timestamp(unit, zone) => DataType::Timestamp(at_least_micros(unit), zone),
            other => other,
        });
    }
    wanted
}

/// The type that holds all of some days and times; `None` where there is no time among them, where
/// they agree, or where something else is among them.
fn common_of_values(types: Vec<DataType>) -> Option<DataType> {
    let mut unit = None;
    let mut zone = None;
    let mut differ = false;
    let mut first: Option<DataType> = None;
    for data_type in types {
        match &data_type {
            DataType::Timestamp(one, of) => {
                unit = unit.max(Some(*one));
                zone = zone.or_else(|| of.clone());
            }
            DataType::Date32 | DataType::Date64 => {}
            DataType::Null => {
                differ = true;
                continue;
            }
            _ => return None,
        }
        differ |= first.as_ref().is_some_and(|first| *first != data_type);
        first = first.or(Some(data_type));
    }
    let unit = unit.filter(|_| differ)?;
    Some(DataType::Timestamp(at_least_micros(unit), zone))
}

/// The type that `expression` brings to values of one type: a literal takes that of the others, a
/// column of texts stays one.
fn type_of_value(expression: &Expr, schema: &DFSchema) -> DataType {
    let data_type = type_of(expression, schema);
    if data_type.is_string() && matches!(expression, Expr::Literal(..)) {
        DataType::Null
    } else {
        data_type
    }
}

fn at_least_micros(unit: TimeUnit) -> TimeUnit {
    unit.max(TimeUnit::Microsecond)
}

/// Casts `expression` where it is a text, a day or a time of another type; says whether it did.
fn cast_in_place(expression: &mut Expr, wanted: Option<&DataType>, schema: &DFSchema) -> bool {
    let Some(wanted) = wanted else {
        return false;
    };
    let present = type_of(expression, schema);
    if present == *wanted || present.is_null() {
        return false;
    }
    let mut inner = std::mem::take(expression);
    complete(&mut inner);
    *expression = Expr::Cast(Cast::new(Box::new(inner), wanted.clone()));
    true
}

/// Adds the seconds to the literal of a time that ends after minutes.
fn complete(literal: &mut Expr) -> bool {
    let Expr::Literal(value, _) = literal else {
        return false;
    };
    match value.try_as_str().flatten().and_then(with_seconds) {
        Some(text) => {
            *value = ScalarValue::from(text);
            true
        }
        None => false,
    }
}

/// The type of `expression`; null where DataFusion does not know it yet, as in the body of a
/// lambda.
fn type_of(expression: &Expr, schema: &DFSchema) -> DataType {
    expression.get_type(schema).unwrap_or(DataType::Null)
}

fn is_comparison(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn marked(expression: Expr, changed: bool) -> Transformed<Expr> {
    if changed {
        Transformed::yes(expression)
    } else {
        Transformed::no(expression)
    }
}
