//! Coerces types as DataFusion does, but lets a DECIMAL take the type of a DOUBLE beside it.
//!
//! DataFusion compares and unites DOUBLE and DECIMAL as `DECIMAL(30,15)`: it casts the DOUBLE
//! column, which loses pruning, digits and everything beyond 10^15. As literals with a point are
//! decimals here, that would be so for every `temp > 20.5`. PostgreSQL casts the decimal instead,
//! and so does this rule. It runs DataFusion's own coercion on each expression right after its
//! repair, so that what stands above sees final types, and must be the first rule: DataFusion's has
//! nothing left to do.
//!
//! Two decimals whose common type needs more than 38 digits are compared as `Decimal256`, where
//! DataFusion cuts the type to 38 digits and then fails on values that do not fit.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRewriter};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, BinaryExpr, Case, InList, InSubquery, ScalarFunction, SetComparison,
    WindowFunction,
};
use datafusion::logical_expr::expr_schema::cast_subquery;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::type_coercion::functions::{UDFCoercionExt, fields_with_udf};
use datafusion::logical_expr::{
    Between, Expr, ExprSchemable as _, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    Union, Values, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion::optimizer::utils::NamePreserver;

use crate::functions::numbers::arithmetic;
use crate::rules::schema_below;

/// Most digits of a decimal of 128 bits, the widest that columns have.
const DIGITS_MAX: i16 = 38;

/// Functions whose arguments do not become values of one type.
const INDEPENDENT_ARGUMENTS: [&str; 5] = ["struct", "named_struct", "row", "concat", "concat_ws"];

/// Functions that have no use for exact arguments.
const DOUBLE_ARGUMENTS: [&str; 4] = ["power", "pow", "log", "exp"];

/// Digits of the key of a RANGE: a whole number of 64 bits, and another added to it, have fewer.
const RANGE_DIGITS: u8 = 21;

#[derive(Debug)]
pub(crate) struct NumberTypes;

impl AnalyzerRule for NumberTypes {
    fn name(&self) -> &'static str {
        "number_types"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(coerce_node)?;
        Ok(plan.data)
    }
}

fn coerce_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Values(values) => unite_values(values)?,
        LogicalPlan::Union(union) => unite_inputs(union)?,
        LogicalPlan::Join(join) => LogicalPlan::Join(match_keys(join)?),
        LogicalPlan::Window(window) => widen_range_key(window)?,
        other => other,
    };
    let schema = schema_below(&plan)?;
    let mut rewriter = Coercion {
        schema: &schema,
        datafusion: TypeCoercionRewriter::new(&schema),
    };
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let coerced = expression.rewrite(&mut rewriter)?;
        Ok(coerced.update_data(|expression| name.restore(expression)))
    })?
    .map_data(|plan| match plan {
        LogicalPlan::Filter(mut filter) => {
            filter.predicate = filter.predicate.cast_to(&DataType::Boolean, &schema)?;
            Ok(LogicalPlan::Filter(filter))
        }
        // Its columns have the types that its rows had before.
        LogicalPlan::Values(values) => LogicalPlanBuilder::values(values.values)?.build(),
        other => TypeCoercionRewriter::new(&schema).coerce_plan(other),
    })?
    .map_data(LogicalPlan::recompute_schema)
}

/// Gives the key of a RANGE between numbers a type that holds every bound, for all functions of the
/// window: they share it.
///
/// A bound that leaves the type of the key is where the rows without a value stand, and DataFusion
/// counts these in.
fn widen_range_key(window: Window) -> Result<LogicalPlan> {
    let is_range = |expression: &Expr| match expression {
        Expr::WindowFunction(function) => Ok(has_range_offset(&function.params.window_frame)),
        _ => Ok(false),
    };
    let mut is_wide = false;
    for expression in &window.window_expr {
        is_wide |= expression.exists(is_range)?;
    }
    let schema = Arc::clone(window.input.schema());
    let plan = LogicalPlan::Window(window);
    if !is_wide {
        return Ok(plan);
    }
    let wider = DataType::Decimal128(RANGE_DIGITS, 0);
    let names = NamePreserver::new(&plan);
    let widened = plan.map_expressions(|expression| {
        let name = names.save(&expression);
        let widened = expression.transform_up(|expression| {
            let Expr::WindowFunction(mut function) = expression else {
                return Ok(Transformed::no(expression));
            };
            if let [key] = function.params.order_by.as_mut_slice()
                && key.expr.get_type(&schema)?.is_integer()
            {
                key.expr = std::mem::take(&mut key.expr).cast_to(&wider, &schema)?;
            }
            Ok(Transformed::yes(Expr::WindowFunction(function)))
        })?;
        Ok(widened.update_data(|expression| name.restore(expression)))
    })?;
    Ok(widened.data)
}

fn has_range_offset(frame: &WindowFrame) -> bool {
    let is_offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => {
            !offset.is_null()
        }
        WindowFrameBound::CurrentRow => false,
    };
    frame.units == WindowFrameUnits::Range
        && (is_offset(&frame.start_bound) || is_offset(&frame.end_bound))
}

/// Rows of VALUES that hold a DOUBLE in a column make its other numbers DOUBLE as well.
///
/// The planner has united the types already, by casts to a decimal around the DOUBLE.
fn unite_values(values: Values) -> Result<LogicalPlan> {
    let none = DFSchema::empty();
    let mut rows = values.values.clone();
    let mut changed = false;
    for column in 0..values.schema.fields().len() {
        if !values.schema.field(column).data_type().is_decimal() {
            continue;
        }
        let written: Vec<Expr> = rows
            .iter()
            .map(|row| match &row[column] {
                Expr::Cast(cast) => cast.expr.as_ref().clone(),
                other => other.clone(),
            })
            .collect();
        let types = types_of(&written, &none)?;
        if !types.iter().any(DataType::is_floating) {
            continue;
        }
        for (row, (written, data_type)) in rows.iter_mut().zip(written.into_iter().zip(types)) {
            row[column] = if data_type.is_floating() {
                written
            } else {
                to_double(written, &none)?
            };
        }
        changed = true;
    }
    if !changed {
        return Ok(LogicalPlan::Values(values));
    }
    LogicalPlanBuilder::values(rows)?.build()
}

/// Inputs of UNION whose column is a DOUBLE in one of them give a DOUBLE in all.
///
/// The schema of the union was made before its inputs were coerced, and may say DECIMAL where none
/// has it any more.
fn unite_inputs(union: Union) -> Result<LogicalPlan> {
    let columns = union.schema.fields().len();
    let types = |column: usize| {
        let inputs = union.inputs.iter().filter_map(move |input| {
            let fields = input.schema().fields();
            fields.get(column).map(|field| field.data_type().clone())
        });
        inputs.chain([union.schema.field(column).data_type().clone()])
    };
    let to_cast: Vec<usize> = (0..columns).filter(|column| meet(types(*column))).collect();
    if to_cast.is_empty() {
        return Ok(LogicalPlan::Union(union));
    }
    let inputs = union.inputs.iter().map(|input| {
        let schema = input.schema();
        let expressions = schema.columns().into_iter().enumerate();
        let expressions = expressions.map(|(index, column)| {
            let expression = Expr::Column(column.clone());
            if !to_cast.contains(&index) || !schema.field(index).data_type().is_decimal() {
                return Ok(expression);
            }
            let cast = to_double(expression, schema)?;
            Ok(cast.alias_qualified(column.relation, column.name))
        });
        let expressions = expressions.collect::<Result<Vec<_>>>()?;
        let projected = Projection::try_new(expressions, Arc::clone(input))?;
        Ok(Arc::new(LogicalPlan::Projection(projected)))
    });
    // DataFusion unites the types of the inputs with those of this schema.
    let fields = union.schema.iter().enumerate();
    let fields = fields.map(|(index, (qualifier, field))| {
        let field = if to_cast.contains(&index) {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Float64))
        } else {
            Arc::clone(field)
        };
        (qualifier.cloned(), field)
    });
    let metadata = union.schema.metadata().clone();
    let schema = DFSchema::new_with_metadata(fields.collect(), metadata)?;
    Ok(LogicalPlan::Union(Union {
        inputs: inputs.collect::<Result<Vec<_>>>()?,
        schema: Arc::new(schema),
    }))
}

/// Keys of a join are pairs, not comparisons, and need the repair of a comparison.
fn match_keys(mut join: Join) -> Result<Join> {
    let on = std::mem::take(&mut join.on);
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let pairs = on.into_iter().map(|(left, right)| {
        let types = (left.get_type(left_schema)?, right.get_type(right_schema)?);
        let common = common_type(&[types.0, types.1]);
        Ok(match common {
            None => (left, right),
            Some(common) => (
                numeric(left, &common, left_schema)?,
                numeric(right, &common, right_schema)?,
            ),
        })
    });
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    join.on = pairs;
    Ok(join)
}

struct Coercion<'a> {
    schema: &'a DFSchema,
    datafusion: TypeCoercionRewriter<'a>,
}

impl TreeNodeRewriter for Coercion<'_> {
    type Node = Expr;

    fn f_up(&mut self, expression: Expr) -> Result<Transformed<Expr>> {
        let repaired = self.repair(expression)?;
        let coerced = self.datafusion.f_up(repaired)?;
        Ok(Transformed::yes(coerced.data))
    }
}

impl Coercion<'_> {
    fn repair(&self, expression: Expr) -> Result<Expr> {
        match expression {
            Expr::Literal(ScalarValue::UInt64(Some(value)), metadata)
                if i64::try_from(value).is_err() =>
            {
                let exact = ScalarValue::Decimal128(Some(i128::from(value)), 20, 0);
                Ok(Expr::Literal(exact, metadata))
            }
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Between(between) => self.between(between),
            Expr::InList(list) => self.in_list(list),
            Expr::Case(case) => self.case(case),
            Expr::InSubquery(subquery) => self.in_subquery(subquery),
            Expr::SetComparison(comparison) => self.set_comparison(comparison),
            Expr::ScalarFunction(function) => self.scalar_function(function),
            Expr::AggregateFunction(function) => self.aggregate_function(function),
            Expr::WindowFunction(function) => self.window_function(function),
            other => Ok(other),
        }
    }

    fn binary(&self, binary: BinaryExpr) -> Result<Expr> {
        let BinaryExpr { left, op, right } = binary;
        let (left, right) = (*left, *right);
        let (mut left, mut right) = match op {
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => self.unite_pair(left, right)?,
            Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo => self.operands(left, op, right)?,
            _ => (left, right),
        };
        if op == Operator::Divide {
            let (dividend, divisor) = (left.get_type(self.schema)?, right.get_type(self.schema)?);
            if let Some((dividend, divisor)) = arithmetic::exact_operands(&dividend, &divisor) {
                left = left.cast_to(&dividend, self.schema)?;
                right = right.cast_to(&divisor, self.schema)?;
                return Ok(arithmetic::call(left, op, right));
            }
        }
        Ok(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(left),
            op,
            Box::new(right),
        )))
    }

    /// Operands of arithmetic: a decimal beside a DOUBLE is a DOUBLE, and so is one beside an
    /// interval, which can only be multiplied by such.
    fn operands(&self, left: Expr, op: Operator, right: Expr) -> Result<(Expr, Expr)> {
        let types = [left.get_type(self.schema)?, right.get_type(self.schema)?];
        let [one, other] = &types;
        let odd = |data_type: &DataType| {
            matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
                && matches!(op, Operator::Multiply | Operator::Divide)
        };
        let double = |decimal: &DataType, partner: &DataType| {
            decimal.is_decimal() && (partner.is_floating() || odd(partner))
        };
        if double(one, other) {
            return Ok((to_double(left, self.schema)?, right));
        }
        if double(other, one) {
            return Ok((left, to_double(right, self.schema)?));
        }
        Ok(match (one.is_decimal(), other.is_decimal()) {
            (true, false) => (left, whole(right)),
            (false, true) => (whole(left), right),
            _ => (left, right),
        })
    }

    fn unite_pair(&self, left: Expr, right: Expr) -> Result<(Expr, Expr)> {
        let mut both = [left, right];
        self.unite(&mut both)?;
        let [left, right] = both;
        Ok((left, right))
    }

    /// Gives expressions that are compared, or of which one is taken, a common type where
    /// DataFusion's would be wrong.
    fn unite(&self, expressions: &mut [Expr]) -> Result<()> {
        let decimals = types_of(expressions, self.schema)?;
        if decimals.iter().any(DataType::is_decimal) {
            for expression in expressions.iter_mut() {
                *expression = whole(std::mem::take(expression));
            }
        }
        let types = types_of(expressions, self.schema)?;
        let Some(common) = common_type(&types) else {
            return Ok(());
        };
        for expression in expressions {
            *expression = numeric(std::mem::take(expression), &common, self.schema)?;
        }
        Ok(())
    }

    fn between(&self, between: Between) -> Result<Expr> {
        let mut all = [*between.expr, *between.low, *between.high];
        self.unite(&mut all)?;
        let [expression, low, high] = all.map(Box::new);
        let negated = between.negated;
        Ok(Expr::Between(Between::new(expression, negated, low, high)))
    }

    fn in_list(&self, list: InList) -> Result<Expr> {
        let mut all = list.list;
        all.push(*list.expr);
        self.unite(&mut all)?;
        let expression = Box::new(all.pop().unwrap_or_default());
        Ok(Expr::InList(InList::new(expression, all, list.negated)))
    }

    fn case(&self, case: Case) -> Result<Expr> {
        let (mut whens, mut thens): (Vec<Expr>, Vec<Expr>) = case
            .when_then_expr
            .into_iter()
            .map(|(when, then)| (*when, *then))
            .unzip();
        let operand = match case.expr {
            Some(operand) => {
                whens.push(*operand);
                self.unite(&mut whens)?;
                whens.pop()
            }
            None => None,
        };
        let has_else = case.else_expr.is_some();
        thens.extend(case.else_expr.map(|otherwise| *otherwise));
        self.unite_values(&mut thens)?;
        let otherwise = if has_else { thens.pop() } else { None };
        let branches = whens.into_iter().zip(thens);
        Ok(Expr::Case(Case::new(
            operand.map(Box::new),
            branches
                .map(|(when, then)| (Box::new(when), Box::new(then)))
                .collect(),
            otherwise.map(Box::new),
        )))
    }

    /// Like [`Self::unite`] for values that are passed on: these stay decimals of 128 bits.
    fn unite_values(&self, expressions: &mut [Expr]) -> Result<()> {
        if meet(types_of(expressions, self.schema)?) {
            for expression in expressions {
                *expression = numeric(std::mem::take(expression), &DataType::Float64, self.schema)?;
            }
        }
        Ok(())
    }

    fn in_subquery(&self, mut subquery: InSubquery) -> Result<Expr> {
        let column = subquery.subquery.subquery.schema().field(0).data_type();
        let types = [subquery.expr.get_type(self.schema)?, column.clone()];
        if let Some(common) = common_type(&types) {
            *subquery.expr = numeric(*subquery.expr, &common, self.schema)?;
            subquery.subquery = cast_subquery(subquery.subquery, &common)?;
        }
        Ok(Expr::InSubquery(subquery))
    }

    fn set_comparison(&self, mut comparison: SetComparison) -> Result<Expr> {
        let column = comparison.subquery.subquery.schema().field(0).data_type();
        let types = [comparison.expr.get_type(self.schema)?, column.clone()];
        if let Some(common) = common_type(&types) {
            *comparison.expr = numeric(*comparison.expr, &common, self.schema)?;
            comparison.subquery = cast_subquery(comparison.subquery, &common)?;
        }
        Ok(Expr::SetComparison(comparison))
    }

    fn scalar_function(&self, mut function: ScalarFunction) -> Result<Expr> {
        if !INDEPENDENT_ARGUMENTS.contains(&function.name()) {
            let always = DOUBLE_ARGUMENTS.contains(&function.name());
            self.arguments(&mut function.args, function.func.as_ref(), always)?;
        }
        // All digits may be taken: the next whole number of 9.9 has one more.
        if matches!(function.name(), "ceil" | "floor")
            && let [number] = function.args.as_mut_slice()
            && let DataType::Decimal128(digits, scale @ 1..) = number.get_type(self.schema)?
            && i16::from(digits) < DIGITS_MAX
        {
            let wider = DataType::Decimal128(digits + 1, scale);
            *number = std::mem::take(number).cast_to(&wider, self.schema)?;
        }
        if matches!(function.name(), "round" | "trunc")
            && let [_, digits] = function.args.as_mut_slice()
            && let Some(constant) = small_literal(digits)
        {
            *digits = lit(constant);
        }
        Ok(Expr::ScalarFunction(function))
    }

    fn aggregate_function(&self, mut function: AggregateFunction) -> Result<Expr> {
        let arguments = &mut function.params.args;
        self.arguments(arguments, function.func.as_ref(), false)?;
        // What follows the first argument says how to aggregate: a percentile is a DOUBLE.
        for argument in arguments.iter_mut().skip(1) {
            if matches!(argument, Expr::Literal(value, _) if value.data_type().is_decimal()) {
                *argument = to_double(std::mem::take(argument), self.schema)?;
            }
        }
        Ok(Expr::AggregateFunction(function))
    }

    fn window_function(&self, mut function: Box<WindowFunction>) -> Result<Expr> {
        let arguments = &mut function.params.args;
        if meet(types_of(arguments, self.schema)?) {
            self.doubles(arguments)?;
        }
        // The default of a whole number may have a fraction.
        if let [value, _, default] = arguments.as_mut_slice()
            && let (from, to) = (value.get_type(self.schema)?, default.get_type(self.schema)?)
            && from.is_integer()
            && !to.is_integer()
            && let Some(common) = type_union_coercion(&from, &to)
        {
            *value = std::mem::take(value).cast_to(&common, self.schema)?;
            *default = std::mem::take(default).cast_to(&common, self.schema)?;
        }
        Ok(Expr::WindowFunction(function))
    }

    /// Makes decimal arguments DOUBLE beside a DOUBLE, and where the function takes no decimals.
    fn arguments<F: UDFCoercionExt>(
        &self,
        arguments: &mut [Expr],
        function: &F,
        always: bool,
    ) -> Result<()> {
        let types = types_of(arguments, self.schema)?;
        if !types.iter().any(DataType::is_decimal) {
            return Ok(());
        }
        let fields = arguments
            .iter()
            .map(|argument| Ok(argument.to_field(self.schema)?.1))
            .collect::<Result<Vec<FieldRef>>>()?;
        if always || meet(types) || fields_with_udf(&fields, function).is_err() {
            self.doubles(arguments)?;
        }
        Ok(())
    }

    fn doubles(&self, arguments: &mut [Expr]) -> Result<()> {
        for argument in arguments {
            if argument.get_type(self.schema)?.is_decimal() {
                *argument = to_double(std::mem::take(argument), self.schema)?;
            }
        }
        Ok(())
    }
}

fn types_of(expressions: &[Expr], schema: &DFSchema) -> Result<Vec<DataType>> {
    let types = expressions.iter();
    types
        .map(|expression| expression.get_type(schema))
        .collect()
}

/// Whether a decimal stands beside a DOUBLE or REAL.
pub(in crate::rules) fn meet(types: impl IntoIterator<Item = DataType>) -> bool {
    let (mut decimal, mut floating) = (false, false);
    for data_type in types {
        decimal |= data_type.is_decimal();
        floating |= data_type.is_floating();
    }
    decimal && floating
}

/// The type to compare `types` as, where DataFusion would choose one that loses values.
fn common_type(types: &[DataType]) -> Option<DataType> {
    let text = types.iter().any(DataType::is_string) && types.iter().any(DataType::is_decimal);
    if text || meet(types.iter().cloned()) {
        return Some(DataType::Float64);
    }
    let decimal = |data_type: &DataType| match data_type {
        DataType::Decimal128(precision, scale) => Some((i16::from(*precision), i16::from(*scale))),
        other if other.is_integer() => Some((20, 0)),
        _ => None,
    };
    if !types.iter().any(DataType::is_decimal) {
        return None;
    }
    let sizes: Vec<(i16, i16)> = types.iter().filter_map(decimal).collect();
    let scale = sizes.iter().map(|(_, scale)| *scale).max()?;
    let whole = sizes.iter().map(|(digits, scale)| digits - scale).max()?;
    let wide = scale >= 0 && whole + scale > DIGITS_MAX && sizes.len() > 1;
    let digits = u8::try_from(whole + scale).ok()?;
    let scale = i8::try_from(scale).ok()?;
    wide.then_some(DataType::Decimal256(digits, scale))
}

/// Casts `expression` if it is a number.
fn numeric(expression: Expr, to: &DataType, schema: &DFSchema) -> Result<Expr> {
    let from = expression.get_type(schema)?;
    if from.is_decimal() && to == &DataType::Float64 {
        return to_double(expression, schema);
    }
    if from.is_numeric() {
        return expression.cast_to(to, schema);
    }
    Ok(expression)
}

/// The value of a literal whole number. `round` has one result type for a decimal beside a literal,
/// and another beside the cast that DataFusion puts around it until it folds constants.
fn small_literal(expression: &Expr) -> Option<i32> {
    match expression {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => i32::try_from(*value).ok(),
        Expr::Negative(inner) => small_literal(inner)?.checked_neg(),
        _ => None,
    }
}

/// A whole number beside a decimal as a decimal of its own digits, not of the 20 that its type may
/// have.
fn whole(expression: Expr) -> Expr {
    match expression {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => {
            let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
            let digits = u8::try_from(digits).unwrap_or(19);
            let exact = ScalarValue::Decimal128(Some(i128::from(value)), digits, 0);
            Expr::Literal(exact, metadata)
        }
        other => other,
    }
}

/// The nearest DOUBLE.
fn to_double(expression: Expr, schema: &DFSchema) -> Result<Expr> {
    match expression {
        Expr::Literal(ScalarValue::Decimal128(Some(value), _, scale), metadata) => {
            let text = format!("{value}e{}", -i16::from(scale));
            // Read from its digits: a division by a power of ten would round twice.
            let nearest = text.parse::<f64>().ok();
            Ok(Expr::Literal(ScalarValue::Float64(nearest), metadata))
        }
        other => other.cast_to(&DataType::Float64, schema),
    }
}
