//! `min` and `max` of floating numbers and of intervals by the one order that these have
//! everywhere.
//!
//! Intervals are ordered by [`length`], and not by months first. For floating numbers see
//! [`float_key`]. DataFusion's accumulators by group begin with the largest finite number, so that
//! a group of infinities alone has the minimum 1.8e308, and take or leave a NaN by where it stands
//! among the rows.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, AsArray as _, BooleanArray};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use super::interval_sum::INTERVAL;
use crate::functions::intervals::span_length::length;
use crate::functions::numbers::float_key;

/// DataFusion's accumulator, which gets keys in place of values, or one of intervals.
pub(super) fn canonical(
    args: &AccumulatorArgs,
    largest: bool,
    inner: impl FnOnce(AccumulatorArgs) -> Result<Box<dyn Accumulator>>,
) -> Result<Box<dyn Accumulator>> {
    let data_type = args.return_field.data_type();
    if data_type == &INTERVAL {
        return Ok(Box::new(ExtremeInterval {
            best: None,
            largest,
        }));
    }
    let inner = inner(args.clone())?;
    Ok(if data_type.is_floating() {
        Box::new(Canonical { inner })
    } else {
        inner
    })
}

pub(super) fn groups_accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn GroupsAccumulator>> {
    let data_type = args.return_field.data_type();
    let largest = inner.is_descending() == Some(true);
    // Of keys, NaN is the largest and -Infinity the smallest.
    let inner: Box<dyn GroupsAccumulator> = match data_type {
        DataType::Float64 => {
            let replace = move |best: &mut f64, value: f64| {
                if value.total_cmp(best).is_gt() == largest {
                    *best = value;
                }
            };
            let first = if largest { f64::NEG_INFINITY } else { f64::NAN };
            let groups = PrimitiveGroupsAccumulator::<Float64Type, _>::new(data_type, replace);
            Box::new(groups.with_starting_value(first))
        }
        DataType::Float32 => {
            let replace = move |best: &mut f32, value: f32| {
                if value.total_cmp(best).is_gt() == largest {
                    *best = value;
                }
            };
            let first = if largest { f32::NEG_INFINITY } else { f32::NAN };
            let groups = PrimitiveGroupsAccumulator::<Float32Type, _>::new(data_type, replace);
            Box::new(groups.with_starting_value(first))
        }
        _ => return inner.create_groups_accumulator(args),
    };
    Ok(Box::new(Canonical { inner }))
}

/// The shortest or the longest of some intervals, the first where several are as long.
#[derive(Debug)]
struct ExtremeInterval {
    best: Option<IntervalMonthDayNano>,
    largest: bool,
}

impl Accumulator for ExtremeInterval {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<IntervalMonthDayNanoType>();
        for value in values.iter().flatten() {
            let order = |best| length(value).cmp(&length(best));
            let is_better = |best| match order(best) {
                Ordering::Less => !self.largest,
                Ordering::Equal => false,
                Ordering::Greater => self.largest,
            };
            if self.best.is_none_or(is_better) {
                self.best = Some(value);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::IntervalMonthDayNano(self.best))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

fn keys(values: &[ArrayRef]) -> Vec<ArrayRef> {
    values.iter().map(float_key::canonical).collect()
}

#[derive(Debug)]
struct Canonical<A> {
    inner: A,
}

impl Accumulator for Canonical<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&keys(values))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&keys(values))
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

impl GroupsAccumulator for Canonical<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        self.inner
            .update_batch(&keys(values), groups, filter, groups_count)
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        groups_count: usize,
    ) -> Result<()> {
        self.inner.merge_batch(states, groups, groups_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&keys(values), filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
