//! Keeps conditions from failing on rows that an earlier condition excludes.
//!
//! DataFusion computes both sides of AND for a whole batch, orders conditions anew as it pushes
//! them down, makes an AND of `CASE WHEN b <> 0 THEN a / b > 1 ELSE false END`, and computes the
//! arguments of an aggregate for rows that its FILTER leaves out. Each lets `a / b` fail on `b =
//! 0`. Only a CASE whose values are no conditions is computed row by row, so such a CASE is put
//! around what may fail: `CASE WHEN (b <> 0) IS NOT TRUE THEN 0 ELSE CAST(a / b > 1 AS TINYINT) END
//! = 1`, with a WHEN for each condition: one CASE inside another makes DataFusion's texts of a plan
//! twice as long with each. What cannot fail stays beside it as it was, and prunes. A volatile
//! condition is computed once, or left alone.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{AggregateFunctionParams, BinaryExpr, Case};
use datafusion::logical_expr::utils::{conjunction, split_binary_owned, split_conjunction_owned};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, Operator, lit};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::utils::NamePreserver;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};

use crate::rules::schema_below;

/// Functions that no value of their arguments' types makes fail; of any other it is not known.
const INFALLIBLE: [&str; 79] = [
    "any_equal",
    "array_contains",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_length",
    "array_max",
    "array_min",
    "ascii",
    "atan",
    "atan2",
    "bit_length",
    "btrim",
    "cardinality",
    "cbrt",
    "ceil",
    "character_length",
    "coalesce",
    "contains",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "element",
    "ends_with",
    "event_day",
    "exp",
    "float_key",
    "floor",
    "get_field",
    "greatest",
    "initcap",
    "isnan",
    "iszero",
    "json_as_text",
    "json_get",
    "json_get_array",
    "json_get_bool",
    "json_get_float",
    "json_get_int",
    "json_get_json",
    "json_get_str",
    "json_length",
    "json_object_keys",
    "least",
    "list_field",
    "lower",
    "ltrim",
    "make_array",
    "md5",
    "named_struct",
    "nameless_field",
    "nanvl",
    "nearest_double",
    "nearest_whole",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "opaque",
    "radians",
    "reverse",
    "row",
    "rtrim",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "signum",
    "sin",
    "sinh",
    "starts_with",
    "strpos",
    "struct",
    "tan",
    "tanh",
    "to_hex",
    "trunc",
    "upper",
];

/// Guards what a statement says, in the order in which it says it.
#[derive(Debug)]
pub(crate) struct Guards;

impl AnalyzerRule for Guards {
    fn name(&self) -> &'static str {
        "guards"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(guard_node)?.data)
    }
}

/// Guards conditions that the optimizer has brought together, such as those of a subquery and of
/// what reads it.
#[derive(Debug)]
pub(crate) struct LateGuards;

impl OptimizerRule for LateGuards {
    fn name(&self) -> &'static str {
        "late_guards"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        refuse_outer_columns(&plan)?;
        match plan {
            LogicalPlan::Filter(mut filter) => {
                let conditions = split_conjunction_owned(filter.predicate.clone());
                let Some(guarded) = guarded_set(conditions, filter.input.schema())? else {
                    return Ok(Transformed::no(LogicalPlan::Filter(filter)));
                };
                filter.predicate = conjunction(guarded).unwrap_or_else(|| lit(true));
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::TableScan(mut scan) => {
                let columns = scan.source.schema();
                let schema =
                    DFSchema::try_from_qualified_schema(scan.table_name.clone(), &columns)?;
                let Some(guarded) = guarded_set(scan.filters.clone(), &schema)? else {
                    return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
                };
                scan.filters = guarded;
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Refuses a subquery that DataFusion has not made a join of: none of its operators can run it.
fn refuse_outer_columns(plan: &LogicalPlan) -> Result<()> {
    for expression in plan.expressions() {
        expression.apply(|part| match part {
            Expr::OuterReferenceColumn(_, column) => plan_err!(
                "a subquery cannot be joined by its reference to \"{column}\" of the query outside; write it as a join, or its ORDER BY and LIMIT as row_number() OVER (PARTITION BY … ORDER BY …)"
            ),
            _ => Ok(TreeNodeRecursion::Continue),
        })?;
    }
    Ok(())
}

/// The conditions with those that may fail behind all that cannot, or none if nothing is to be
/// done.
fn guarded_set(conditions: Vec<Expr>, schema: &DFSchema) -> Result<Option<Vec<Expr>>> {
    let (mut fallible, mut beside) = (Vec::new(), Vec::new());
    for condition in conditions {
        if !is_guarded(&condition) && may_fail(&condition, schema)? {
            fallible.push(condition);
        } else {
            beside.push(condition);
        }
    }
    let guards = beside.iter();
    let guards = guards.filter(|guard| !is_guarded(guard) && !guard.is_volatile());
    let mut chain: Vec<_> = guards.cloned().collect();
    if chain.is_empty() || fallible.is_empty() {
        return Ok(None);
    }
    chain.append(&mut fallible);
    beside.extend(one_after_another(Operator::And, chain));
    Ok(Some(beside))
}

fn guard_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = schema_below(&plan)?;
    let condition = matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let guarded = if condition {
            guard_condition(expression, &schema)?
        } else {
            guard(expression, &schema)?
        };
        Ok(guarded.update_data(|expression| name.restore(expression)))
    })
}

/// Guards the parts of a condition whose false and null are alike.
fn guard_condition(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let op = match &expression {
        Expr::BinaryExpr(BinaryExpr { op, .. }) if matches!(op, Operator::And | Operator::Or) => {
            *op
        }
        _ => return guard(expression, schema),
    };
    let parts = split_binary_owned(expression, op).into_iter();
    let parts = parts.map(|part| Ok(guard_condition(part, schema)?.data));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let mut fallible = Vec::with_capacity(parts.len());
    for part in &parts {
        fallible.push(!is_guarded(part) && may_fail(part, schema)?);
    }
    // The first part has nothing before it that could guard it.
    let chained = match fallible.iter().rposition(|fallible| *fallible) {
        None | Some(0) => 0,
        Some(last) => last + 1,
    };
    let mut beside = Vec::with_capacity(parts.len());
    for (index, (part, fallible)) in parts.iter().zip(fallible).enumerate() {
        let stays = op == Operator::And && !fallible && !is_guarded(part) && !part.is_volatile();
        if index >= chained || stays {
            beside.push(part.clone());
        }
    }
    let mut chain = parts;
    chain.truncate(chained);
    beside.extend(one_after_another(op, chain));
    let whole = beside.into_iter().reduce(|left, right| {
        Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
    });
    Ok(Transformed::yes(
        whole.unwrap_or_else(|| lit(op == Operator::And)),
    ))
}

/// A condition whose parts are computed in their order, each for the rows that those before it have
/// not decided; none where there is no part. Its null is false.
fn one_after_another(op: Operator, mut parts: Vec<Expr>) -> Option<Expr> {
    let last = parts.pop()?;
    let branches = parts.into_iter().map(|part| match op {
        Operator::And => (Box::new(part.is_not_true()), Box::new(lit(0_i8))),
        _ => (Box::new(part.is_true()), Box::new(lit(1_i8))),
    });
    let branches: Vec<_> = branches.collect();
    if branches.is_empty() {
        return Some(last);
    }
    Some(is_one(Case::new(
        None,
        branches,
        Some(Box::new(number(last))),
    )))
}

/// Guards within an expression, null apart from false.
fn guard(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expression.transform_up(|expression| match expression {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::And | Operator::Or),
            right,
        }) => {
            if is_guarded(&right) || !may_fail(&right, schema)? {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
                    left,
                    op,
                    right,
                })));
            }
            Ok(Transformed::yes(short_circuited(*left, op, *right)?))
        }
        Expr::Case(case) => guard_case(case, schema),
        Expr::AggregateFunction(mut function) => {
            let guarded = guard_arguments(&mut function.params, schema)?;
            let function = Expr::AggregateFunction(function);
            Ok(Transformed::new(
                function,
                guarded,
                TreeNodeRecursion::Continue,
            ))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// `left op right` with `right` computed for the rows that `left` does not decide alone.
///
/// Null differs from false, so one of the two stands there twice: the smaller, which keeps the plan
/// of conditions inside others from doubling with each.
fn short_circuited(left: Expr, op: Operator, right: Expr) -> Result<Expr> {
    let decisive = op == Operator::Or;
    let binary = |left: Expr, right: Expr| {
        Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
    };
    if size(&left)? < size(&right)? && !left.is_volatile() {
        let decided = if decisive {
            left.clone().is_true()
        } else {
            left.clone().is_false()
        };
        let branch = (Box::new(decided), Box::new(lit(i8::from(decisive))));
        let right = is_one(Case::new(None, vec![branch], Some(Box::new(number(right)))));
        return Ok(binary(left, right));
    }
    let null = Expr::Literal(ScalarValue::Boolean(None), None);
    let undecided = binary(right.clone(), null);
    Ok(is_one(Case::new(
        Some(Box::new(left)),
        vec![
            (Box::new(lit(decisive)), Box::new(lit(i8::from(decisive)))),
            (Box::new(lit(!decisive)), Box::new(number(right))),
        ],
        Some(Box::new(number(undecided))),
    )))
}

/// How many expressions `expression` is made of.
fn size(expression: &Expr) -> Result<usize> {
    let mut size = 0;
    expression.apply(|_| {
        size += 1;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(size)
}

fn number(condition: Expr) -> Expr {
    datafusion::logical_expr::cast(condition, DataType::Int8)
}

fn is_one(case: Case) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(
        Box::new(Expr::Case(case)),
        Operator::Eq,
        Box::new(lit(1_i8)),
    ))
}

/// Whether a condition is one that these rules have made: no part of it is computed for a row that
/// it excludes.
fn is_guarded(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return false;
    };
    matches!(left.as_ref(), Expr::Case(_))
        && matches!(
            right.as_ref(),
            Expr::Literal(ScalarValue::Int8(Some(1)), None)
        )
}

/// A CASE of conditions is made one of numbers: DataFusion would make AND and OR of it.
fn guard_case(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut values = case.when_then_expr.iter().map(|(_, then)| then);
    let boolean = values.all(|then| {
        let data_type = then.get_type(schema);
        data_type.is_ok_and(|data_type| matches!(data_type, DataType::Boolean | DataType::Null))
    });
    let mut fails = false;
    let branches = case.when_then_expr.iter();
    for branch in branches.flat_map(|(when, then)| [when, then]) {
        fails |= may_fail(branch, schema)?;
    }
    if let Some(otherwise) = &case.else_expr {
        fails |= may_fail(otherwise, schema)?;
    }
    if !boolean || !fails {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    let branches = case.when_then_expr.into_iter();
    Ok(Transformed::yes(is_one(Case::new(
        case.expr,
        branches
            .map(|(when, then)| (when, Box::new(number(*then))))
            .collect(),
        case.else_expr.map(|otherwise| Box::new(number(*otherwise))),
    ))))
}

/// Arguments of an aggregate are computed for the rows that its FILTER lets through.
fn guard_arguments(params: &mut AggregateFunctionParams, schema: &DFSchema) -> Result<bool> {
    // Drawn twice, a volatile filter would let other rows through each time.
    let Some(filter) = params
        .filter
        .as_ref()
        .filter(|filter| !filter.is_volatile())
    else {
        return Ok(false);
    };
    let mut guarded = false;
    for argument in &mut params.args {
        if may_fail(argument, schema)? {
            let value = std::mem::take(argument);
            let branch = (filter.clone(), Box::new(value));
            *argument = Expr::Case(Case::new(None, vec![branch], None));
            guarded = true;
        }
    }
    Ok(guarded)
}

/// Whether computing `expression` may fail, by what a row holds.
pub(crate) fn may_fail(expression: &Expr, schema: &DFSchema) -> Result<bool> {
    let mut fails = false;
    expression.apply(|part| {
        fails = match part {
            Expr::ScalarFunction(function) => INFALLIBLE.binary_search(&function.name()).is_err(),
            Expr::BinaryExpr(BinaryExpr { left, op, .. }) if op.is_numerical_operators() => {
                !left.get_type(schema)?.is_floating()
            }
            Expr::Negative(value) => !value.get_type(schema)?.is_floating(),
            // A pattern that is no constant may be none.
            Expr::BinaryExpr(BinaryExpr { op, right, .. }) if is_regex(*op) => {
                right.any_column_refs()
            }
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(schema)?;
                !always_casts(&from, cast.field.data_type())
            }
            _ => false,
        } && part.any_column_refs();
        Ok(if fails {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(fails)
}

pub(in crate::rules) fn is_regex(op: Operator) -> bool {
    matches!(
        op,
        Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
    )
}

/// Whether every value of `from` has one of `to`.
pub(in crate::rules) fn always_casts(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Date32, Decimal128, Decimal256, Dictionary, Float32, Float64, Int8, Int16, Int32,
        Int64, Null, Timestamp, UInt8, UInt16, UInt32, UInt64,
    };
    let digits = |data_type: &DataType| match data_type {
        Int8 | UInt8 => Some((3, 0)),
        Int16 | UInt16 => Some((5, 0)),
        Int32 | UInt32 => Some((10, 0)),
        Int64 => Some((19, 0)),
        UInt64 => Some((20, 0)),
        Decimal128(precision, scale) | Decimal256(precision, scale) => {
            Some((i16::from(*precision), i16::from(*scale)))
        }
        _ => None,
    };
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) => true,
        (Dictionary(_, from), to) => always_casts(from, to),
        (from, to) if to.is_string() => !from.is_binary(),
        (Boolean, to) => to.is_numeric(),
        (Float64 | Decimal256(..), Float32) => false,
        (from, to) if from.is_numeric() && to.is_floating() => true,
        (Date32, Timestamp(unit, _)) => *unit != TimeUnit::Nanosecond,
        (Timestamp(..), Date32) => true,
        (Timestamp(from, _), Timestamp(to, _)) => from == to,
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => {
            from.primitive_width() <= to.primitive_width()
        }
        (from, Decimal128(..) | Decimal256(..)) => {
            digits(from)
                .zip(digits(to))
                .is_some_and(|((from, from_scale), (to, to_scale))| {
                    from_scale <= to_scale && from - from_scale <= to - to_scale
                })
        }
        _ => false,
    }
}
