//! Averages of decimals, rounded to their last digit.
//!
//! DataFusion cuts them: the average of 0.01, 0.02 and 0.02 is 0.016666 there, and 0.016667 in
//! PostgreSQL. DataFusion's accumulators are asked for one digit more, which is then rounded.

use std::sync::Arc;

use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};

use super::finished::Finished;
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
    let Some(to) = to else { return Ok(inner) };
    let or_fail = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let rounded = move |inner: &mut dyn GroupsAccumulator, emit_to: EmitTo| {
        let averages = inner.evaluate(emit_to)?;
        Ok(cast_with_options(&averages, &to, &or_fail)?)
    };
    Ok(Box::new(Finished::new(inner, rounded)))
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
        Some(to) => Box::new(Finished::new(inner, move |inner: &mut dyn Accumulator| {
            inner.evaluate()?.cast_to(&to)
        })),
        None => inner,
    }
}
