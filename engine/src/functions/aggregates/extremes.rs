//! `min` and `max` of floating numbers by the one order that they have everywhere.
//!
//! See [`crate::functions::float_key`]. DataFusion's accumulators by group begin with the largest finite number, so that
//! a group of infinities alone has the minimum 1.8e308, and take or leave a NaN by where it stands among the rows.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use crate::functions::float_key;

/// DataFusion's accumulator, which gets keys in place of values.
pub(super) fn canonical(
    args: &AccumulatorArgs,
    inner: impl FnOnce(AccumulatorArgs) -> Result<Box<dyn Accumulator>>,
) -> Result<Box<dyn Accumulator>> {
    let floating = args.return_field.data_type().is_floating();
    let inner = inner(args.clone())?;
    Ok(if floating {
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
