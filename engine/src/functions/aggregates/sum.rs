//! Sums of whole numbers, decimals and durations: exact, or an error.
//!
//! DataFusion's `sum` wraps: two large values of BIGINT give a negative one. PostgreSQL sums in a
//! wider type. So do these accumulators, in 128 bits: only the sum of all rows has to fit into the
//! type of the result, whatever the sums of parts are, so an answer does not depend on how rows
//! were spread over threads.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Decimal128Array};
use arrow::array::{Int64Array, UInt64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::NullState;

use super::finished::Finished;
use super::interval_sum::{INTERVAL, IntervalSum};
use super::sliding::{Sliding, Total, not_in_parts};

/// Most digits of a decimal of 128 bits.
const DIGITS_MAX: u8 = 38;

pub(super) fn accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn Accumulator>> {
    let data_type = args.return_field.data_type().clone();
    if data_type == INTERVAL && !args.is_distinct {
        return Ok(Box::new(IntervalSum::default()));
    }
    if !is_exact(&data_type) {
        return inner.accumulator(args);
    }
    if args.is_distinct {
        let inner = inner.accumulator(args)?;
        return Ok(Box::new(Finished::new(
            inner,
            move |inner: &mut dyn Accumulator| {
                let state = inner.state()?;
                let [ScalarValue::List(values)] = state.as_slice() else {
                    return exec_err!("distinct values are a list");
                };
                let (sum, rows) = total(&values.value(0))?;
                narrow((rows > 0).then_some(sum), &data_type)
            },
        )));
    }
    Ok(Box::new(ExactSum::new(data_type)))
}

pub(super) fn groups_accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn GroupsAccumulator>> {
    let data_type = args.return_field.data_type();
    if !is_exact(data_type) {
        return inner.create_groups_accumulator(args);
    }
    Ok(Box::new(GroupedSum {
        sums: Vec::new(),
        nulls: NullState::new(),
        data_type: data_type.clone(),
    }))
}

pub(super) fn sliding_accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn Accumulator>> {
    let data_type = args.return_field.data_type().clone();
    match (is_exact(&data_type), args.is_distinct) {
        (true, true) => Ok(Box::new(SlidingDistinctSum {
            rows: HashMap::new(),
            sum: ExactSum::new(data_type),
        })),
        (true, false) => Ok(Box::new(ExactSum::new(data_type))),
        (false, false) if data_type == INTERVAL => Ok(Box::new(IntervalSum::default())),
        (false, false) if data_type == DataType::Float64 => {
            Ok(Box::new(Sliding::<Total>::new(|total| Some(total.sum))))
        }
        (false, _) => inner.create_sliding_accumulator(args),
    }
}

pub(super) fn state_fields(inner: &AggregateUDF, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
    let data_type = args.return_field.data_type();
    if args.is_distinct || !is_exact(data_type) {
        return inner.state_fields(args);
    }
    let name = format_state_name(args.name, "sum");
    Ok(vec![Field::new(name, state_type(data_type), true).into()])
}

/// The types that are summed by accumulators for single groups alone.
pub(super) fn has_groups_accumulator(inner: &AggregateUDF, args: AccumulatorArgs) -> bool {
    args.return_field.data_type() != &INTERVAL && inner.groups_accumulator_supported(args)
}

/// What `sum` makes of the types of its arguments.
pub(super) fn return_type(inner: &AggregateUDF, arguments: &[DataType]) -> Result<DataType> {
    if let [wide @ DataType::Decimal256(..)] = arguments {
        return plan_err!(
            "sum takes decimals of at most {DIGITS_MAX} digits, not {wide}: CAST its argument to DECIMAL({DIGITS_MAX}, s)"
        );
    }
    inner.return_type(arguments)
}

/// Whether sums of the type are computed in 128 bits.
fn is_exact(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int64
            | DataType::UInt64
            | DataType::Duration(_)
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
    )
}

/// The type of the sum of a part: wider than that of the result.
fn state_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => DataType::Decimal128(DIGITS_MAX, *scale),
        _ => DataType::Decimal128(DIGITS_MAX, 0),
    }
}

/// The values as one of the three types that are summed.
fn summable(values: &ArrayRef) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Duration(_) => Ok(cast(values, &DataType::Int64)?),
        narrow @ (DataType::Decimal32(..) | DataType::Decimal64(..)) => {
            Ok(cast(values, &state_type(narrow))?)
        }
        _ => Ok(Arc::clone(values)),
    }
}

fn overflow(data_type: &DataType) -> DataFusionError {
    let text = format!("Overflow happened on: sum(), which is out of range of {data_type}");
    ArrowError::ArithmeticOverflow(text).into()
}

/// The sum of the values that are not null, and how many these are.
fn total(values: &ArrayRef) -> Result<(i128, usize)> {
    let values = summable(values)?;
    let sum = match values.data_type() {
        DataType::Int64 => int64_total(values.as_primitive::<Int64Type>()),
        DataType::UInt64 => uint64_total(values.as_primitive::<UInt64Type>()),
        DataType::Decimal128(..) => decimal_total(values.as_primitive::<Decimal128Type>())?,
        other => return exec_err!("sum of {other}"),
    };
    Ok((sum, values.len() - values.null_count()))
}

/// Runs of values that are not null.
fn valid(nulls: Option<&NullBuffer>, rows: usize) -> Vec<(usize, usize)> {
    match nulls {
        Some(nulls) => nulls.valid_slices().collect(),
        None => vec![(0, rows)],
    }
}

/// Sums the upper and the lower half of each value apart, which needs no wide additions in the
/// loop.
fn int64_total(values: &Int64Array) -> i128 {
    let runs = valid(values.nulls(), values.len()).into_iter();
    let run = |(from, to): (usize, usize)| {
        let (mut upper, mut lower) = (0_i64, 0_i64);
        let mut sum = 0_i128;
        // Neither half overflows within 2^31 values.
        for chunk in values.values()[from..to].chunks(1 << 20) {
            for value in chunk {
                upper += value >> 32;
                lower += value & 0xffff_ffff;
            }
            sum += (i128::from(upper) << 32) + i128::from(lower);
            (upper, lower) = (0, 0);
        }
        sum
    };
    runs.map(run).sum()
}

fn uint64_total(values: &UInt64Array) -> i128 {
    let runs = valid(values.nulls(), values.len()).into_iter();
    runs.map(|(from, to)| {
        let values = values.values()[from..to].iter();
        values.map(|value| i128::from(*value)).sum::<i128>()
    })
    .sum()
}

fn decimal_total(values: &Decimal128Array) -> Result<i128> {
    let mut sum = 0_i128;
    let mut overflowed = false;
    for (from, to) in valid(values.nulls(), values.len()) {
        for value in &values.values()[from..to] {
            let (next, overflow) = sum.overflowing_add(*value);
            sum = next;
            overflowed |= overflow;
        }
    }
    if overflowed {
        return Err(overflow(values.data_type()));
    }
    Ok(sum)
}

/// The sum as a value of the result's type.
fn narrow(sum: Option<i128>, data_type: &DataType) -> Result<ScalarValue> {
    let Some(sum) = sum else {
        return ScalarValue::try_new_null(data_type);
    };
    let fits = match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => (sum.unsigned_abs() < limit(*precision))
            .then_some(ScalarValue::Decimal128(Some(sum), *precision, *scale)),
        DataType::UInt64 => u64::try_from(sum).ok().map(ScalarValue::from),
        _ => i64::try_from(sum).ok().map(ScalarValue::from),
    };
    let value = fits.ok_or_else(|| overflow(data_type))?;
    value.cast_to(data_type)
}

/// The smallest number of more than `precision` digits.
fn limit(precision: u8) -> u128 {
    10_u128.pow(u32::from(precision.min(DIGITS_MAX)))
}

/// The sum of rows that come and, in a sliding window, leave.
#[derive(Debug)]
struct ExactSum {
    sum: i128,
    rows: usize,
    data_type: DataType,
}

impl ExactSum {
    fn new(data_type: DataType) -> Self {
        Self {
            sum: 0,
            rows: 0,
            data_type,
        }
    }
}

impl Accumulator for ExactSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, rows) = total(&values[0])?;
        let sum = self.sum.checked_add(sum);
        self.sum = sum.ok_or_else(|| overflow(&self.data_type))?;
        self.rows += rows;
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, rows) = total(&values[0])?;
        let sum = self.sum.checked_sub(sum);
        self.sum = sum.ok_or_else(|| overflow(&self.data_type))?;
        self.rows -= rows;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let DataType::Decimal128(precision, scale) = state_type(&self.data_type) else {
            return exec_err!("sums of parts are decimals");
        };
        let sum = (self.rows > 0).then_some(self.sum);
        Ok(vec![ScalarValue::Decimal128(sum, precision, scale)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        narrow((self.rows > 0).then_some(self.sum), &self.data_type)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of the distinct values of a sliding window.
#[derive(Debug)]
struct SlidingDistinctSum {
    /// How many rows of the window have a value.
    rows: HashMap<i128, usize>,
    sum: ExactSum,
}

impl SlidingDistinctSum {
    fn each(values: &ArrayRef) -> Result<Vec<i128>> {
        let values = summable(values)?;
        Ok(match values.data_type() {
            DataType::Int64 => {
                let values = values.as_primitive::<Int64Type>();
                values.iter().flatten().map(i128::from).collect()
            }
            DataType::UInt64 => {
                let values = values.as_primitive::<UInt64Type>();
                values.iter().flatten().map(i128::from).collect()
            }
            _ => values
                .as_primitive::<Decimal128Type>()
                .iter()
                .flatten()
                .collect(),
        })
    }
}

impl Accumulator for SlidingDistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Self::each(&values[0])? {
            let rows = self.rows.entry(value).or_default();
            *rows += 1;
            if *rows == 1 {
                let sum = self.sum.sum.checked_add(value);
                self.sum.sum = sum.ok_or_else(|| overflow(&self.sum.data_type))?;
                self.sum.rows += 1;
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Self::each(&values[0])? {
            let rows = self.rows.entry(value).or_default();
            *rows = rows.saturating_sub(1);
            if *rows == 0 {
                self.rows.remove(&value);
                self.sum.sum -= value;
                self.sum.rows -= 1;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        not_in_parts()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        not_in_parts()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.capacity() * size_of::<(i128, usize)>()
    }
}

/// A sum for each group.
#[derive(Debug)]
struct GroupedSum {
    sums: Vec<i128>,
    nulls: NullState,
    data_type: DataType,
}

impl GroupedSum {
    fn take(&mut self, emit_to: EmitTo) -> (Vec<i128>, Option<NullBuffer>) {
        let sums = emit_to.take_needed(&mut self.sums);
        (sums, self.nulls.build(emit_to))
    }

    fn partial(&self, sums: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
        let sums = Decimal128Array::new(sums.into(), nulls);
        Arc::new(sums.with_data_type(state_type(&self.data_type)))
    }
}

impl GroupsAccumulator for GroupedSum {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        let values = summable(&values[0])?;
        self.sums.resize(groups_count, 0);
        let sums = &mut self.sums;
        let nulls = &mut self.nulls;
        let mut overflowed = false;
        match values.data_type() {
            DataType::Int64 => {
                let values = values.as_primitive::<Int64Type>();
                nulls.accumulate(groups, values, filter, groups_count, |group, value| {
                    sums[group] += i128::from(value);
                });
            }
            DataType::UInt64 => {
                let values = values.as_primitive::<UInt64Type>();
                nulls.accumulate(groups, values, filter, groups_count, |group, value| {
                    sums[group] += i128::from(value);
                });
            }
            _ => {
                let values = values.as_primitive::<Decimal128Type>();
                nulls.accumulate(groups, values, filter, groups_count, |group, value| {
                    let (sum, overflow) = sums[group].overflowing_add(value);
                    sums[group] = sum;
                    overflowed |= overflow;
                });
            }
        }
        if overflowed {
            return Err(overflow(&self.data_type));
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        groups_count: usize,
    ) -> Result<()> {
        self.update_batch(states, groups, None, groups_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, nulls) = self.take(emit_to);
        let out_of_range = || overflow(&self.data_type);
        match &self.data_type {
            DataType::Decimal32(precision, _)
            | DataType::Decimal64(precision, _)
            | DataType::Decimal128(precision, _) => {
                let limit = limit(*precision);
                if sums.iter().any(|sum| sum.unsigned_abs() >= limit) {
                    return Err(out_of_range());
                }
                Ok(cast(&self.partial(sums, nulls), &self.data_type)?)
            }
            DataType::UInt64 => {
                let sums = sums.into_iter().map(u64::try_from);
                let sums: Vec<u64> = sums.collect::<Result<_, _>>().map_err(|_| out_of_range())?;
                Ok(Arc::new(UInt64Array::new(sums.into(), nulls)))
            }
            _ => {
                let sums = sums.into_iter().map(i64::try_from);
                let sums: Vec<i64> = sums.collect::<Result<_, _>>().map_err(|_| out_of_range())?;
                let sums: ArrayRef = Arc::new(Int64Array::new(sums.into(), nulls));
                Ok(cast(&sums, &self.data_type)?)
            }
        }
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, nulls) = self.take(emit_to);
        Ok(vec![self.partial(sums, nulls)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = summable(&values[0])?;
        let sums: Vec<i128> = match values.data_type() {
            DataType::Int64 => {
                let values = values.as_primitive::<Int64Type>().values().iter();
                values.map(|value| i128::from(*value)).collect()
            }
            DataType::UInt64 => {
                let values = values.as_primitive::<UInt64Type>().values().iter();
                values.map(|value| i128::from(*value)).collect()
            }
            _ => values.as_primitive::<Decimal128Type>().values().to_vec(),
        };
        let kept = filter.map(|filter| {
            let kept = filter.iter().map(|kept| kept == Some(true));
            NullBuffer::from(kept.collect::<Vec<_>>())
        });
        let nulls = NullBuffer::union(values.nulls(), kept.as_ref());
        Ok(vec![self.partial(sums, nulls)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.nulls.size()
    }
}
