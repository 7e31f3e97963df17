//! `percentile_cont` with all digits of its fraction; DataFusion's has six.

use arrow::array::{ArrayRef, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::expressions::Literal;

pub(super) fn accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn Accumulator>> {
    let data_type = args.return_field.data_type().clone();
    let share = args.exprs.get(1).and_then(|share| {
        let share = share.downcast_ref::<Literal>()?.value();
        share.cast_to(&DataType::Float64).ok()
    });
    let is_descending = args
        .order_bys
        .first()
        .is_some_and(|key| key.options.descending);
    // Refuses what is no share from 0 to 1.
    let inner = inner.accumulator(args)?;
    Ok(match share {
        Some(ScalarValue::Float64(Some(share))) if data_type.is_floating() => {
            Box::new(Interpolated {
                inner,
                share,
                is_descending,
                data_type,
            })
        }
        _ => inner,
    })
}

/// Collects values as DataFusion does, and interpolates here.
#[derive(Debug)]
struct Interpolated {
    inner: Box<dyn Accumulator>,
    share: f64,
    is_descending: bool,
    data_type: DataType,
}

impl Accumulator for Interpolated {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.inner.state()?;
        let [ScalarValue::List(values)] = state.as_slice() else {
            return exec_err!("values of a percentile are a list");
        };
        let values = cast(&values.value(0), &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        let mut values: Vec<f64> = values.iter().flatten().collect();
        values.sort_by(f64::total_cmp);
        if self.is_descending {
            values.reverse();
        }
        ScalarValue::Float64(interpolated(&values, self.share)).cast_to(&self.data_type)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// The value at `share` of the way from the first of `sorted` to the last.
fn interpolated(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "rows are fewer than 2^53")]
    let position = share * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is from 0 to 1"
    )]
    let below = position.floor() as usize;
    let (lower, upper) = (sorted[below], sorted[(below + 1).min(last)]);
    if lower.total_cmp(&upper).is_eq() {
        return Some(lower);
    }
    Some(lower + (upper - lower) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::interpolated;

    #[test]
    fn a_percentile_has_all_digits_of_its_share() {
        let found = interpolated(&[0.0, 1e9], 0.123_456_789);
        assert_eq!(found, Some(123_456_789.0));
        assert_eq!(interpolated(&[0.01, 0.02], 0.5), Some(0.015));
        assert_eq!(interpolated(&[f64::INFINITY; 3], 0.4), Some(f64::INFINITY));
        assert_eq!(interpolated(&[7.0], 1.0), Some(7.0));
        assert_eq!(interpolated(&[], 0.5), None);
    }
}
