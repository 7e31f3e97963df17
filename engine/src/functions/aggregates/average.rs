//! Averages of decimals, rounded to their last digit.
//!
//! DataFusion cuts them: the average of 0.01, 0.02 and 0.02 is 0.016666 there, and 0.016667 in PostgreSQL. DataFusion's
//! accumulators are asked for one digit more, which is then rounded.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};

use super::sliding::{Sliding, Total};

/// Most digits of a decimal of 128 bits.
const DIGITS_MAX: u8 = 38;

pub(super) fn accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn Accumulator>> {
    let (args, to) = with_one_digit_more(args);
    let inner = inner.accumulator(args)?;
    Ok(rounded(inner, to))
}

pub(super) fn sliding_accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn Accumulator>> {
    if args.return_field.data_type() == &DataType::Float64 && !args.is_distinct {
        #[expect(clippy::cast_precision_loss, reason = "rows are fewer than 2^53")]
        let average = |total: Total| Some(total.sum / total.count as f64);
        return Ok(Box::new(Sliding::<Total>::new(average)));
    }
    let (args, to) = with_one_digit_more(args);
    let inner = inner.create_sliding_accumulator(args)?;
    Ok(rounded(inner, to))
}

pub(super) fn groups_accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn GroupsAccumulator>> {
    let (args, to) = with_one_digit_more(args);
    let inner = inner.create_groups_accumulator(args)?;
    Ok(match to {
        Some(to) => Box::new(Rounded { inner, to }),
        None => inner,
    })
}

/// The arguments for one fraction digit more, and the type to round to; none where nothing is cut.
fn with_one_digit_more(mut args: AccumulatorArgs) -> (AccumulatorArgs, Option<DataType>) {
    let to = args.return_field.data_type().clone();
    let DataType::Decimal128(precision, scale) = to else {
        return (args, None);
    };
    if scale < 0 || scale.unsigned_abs() >= DIGITS_MAX {
        return (args, None);
    }
    let wider = DataType::Decimal128((precision + 1).min(DIGITS_MAX), scale + 1);
    let field = args.return_field.as_ref().clone();
    args.return_field = Arc::new(field.with_data_type(wider));
    (args, Some(to))
}

fn rounded(inner: Box<dyn Accumulator>, to: Option<DataType>) -> Box<dyn Accumulator> {
    match to {
        Some(to) => Box::new(Rounded { inner, to }),
        None => inner,
    }
}

#[derive(Debug)]
struct Rounded<A> {
    inner: A,
    to: DataType,
}

impl Accumulator for Rounded<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()?.cast_to(&self.to)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

impl GroupsAccumulator for Rounded<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        self.inner
            .update_batch(values, groups, filter, groups_count)
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
        let averages = self.inner.evaluate(emit_to)?;
        let or_fail = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        Ok(cast_with_options(&averages, &self.to, &or_fail)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
