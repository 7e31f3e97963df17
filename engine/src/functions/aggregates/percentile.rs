//! `percentile_cont` with all digits of its fraction; DataFusion's has six.

use arrow::array::{ArrayRef, AsArray as _, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::expressions::Literal;

use super::finished::Finished;

pub(super) fn accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn Accumulator>> {
    let percentile = Percentile::of(&args);
    let is_distinct = args.is_distinct;
    // Refuses what is no share from 0 to 1.
    let inner = inner.accumulator(args)?;
    let Some(percentile) = percentile else {
        return Ok(inner);
    };
    if is_distinct {
        let finish = move |inner: &mut dyn Accumulator| {
            let state = inner.state()?;
            let [ScalarValue::List(values)] = state.as_slice() else {
                return exec_err!("values of a percentile are a list");
            };
            let found = percentile.among(&mut numbers(&values.value(0))?);
            ScalarValue::Float64(found).cast_to(&percentile.data_type)
        };
        return Ok(Box::new(Finished::new(inner, finish)));
    }
    Ok(Box::new(PercentileValues {
        percentile,
        values: Vec::new(),
    }))
}

pub(super) fn groups_accumulator(
    inner: &AggregateUDF,
    args: AccumulatorArgs,
) -> Result<Box<dyn GroupsAccumulator>> {
    let percentile = Percentile::of(&args);
    let inner = inner.create_groups_accumulator(args)?;
    let Some(percentile) = percentile else {
        return Ok(inner);
    };
    let finish = move |inner: &mut dyn GroupsAccumulator, emit_to: EmitTo| {
        let state = inner.state(emit_to)?;
        let [groups] = state.as_slice() else {
            return exec_err!("values of percentiles are lists");
        };
        let found = groups.as_list::<i32>().iter().map(|values| {
            let values = values.as_ref().map(numbers).transpose()?;
            Ok(values.and_then(|mut values| percentile.among(&mut values)))
        });
        let found = found.collect::<Result<Float64Array>>()?;
        Ok(cast(&found, &percentile.data_type)?)
    };
    Ok(Box::new(Finished::new(inner, finish)))
}

/// What is asked of the values.
#[derive(Clone, Debug)]
struct Percentile {
    share: f64,
    is_descending: bool,
    data_type: DataType,
}

impl Percentile {
    /// None where DataFusion refuses the share, and for arguments that are null.
    fn of(args: &AccumulatorArgs) -> Option<Self> {
        let share = args.exprs.get(1)?.downcast_ref::<Literal>()?.value();
        let ScalarValue::Float64(Some(share)) = share.cast_to(&DataType::Float64).ok()? else {
            return None;
        };
        let data_type = args.return_field.data_type().clone();
        let is_null = args.expr_fields[0].data_type().is_null();
        (data_type.is_floating() && !is_null).then(|| Self {
            share,
            is_descending: args
                .order_bys
                .first()
                .is_some_and(|key| key.options.descending),
            data_type,
        })
    }

    /// The value at `share` of the way from the first of `values` to the last. Sorts them.
    fn among(&self, values: &mut [f64]) -> Option<f64> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |place: usize| {
            let place = place.min(last);
            values[if self.is_descending {
                last - place
            } else {
                place
            }]
        };
        #[expect(clippy::cast_precision_loss, reason = "rows are fewer than 2^53")]
        let position = self.share * last as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is from 0 to 1"
        )]
        let below = position.floor() as usize;
        let (lower, upper) = (at(below), at(below + 1));
        // No part of the way to an infinity is no number.
        if position.fract() == 0.0 || lower.total_cmp(&upper).is_eq() {
            return Some(lower);
        }
        Some(lower + (upper - lower) * position.fract())
    }
}

/// The values of a column that are not null.
fn numbers(values: &ArrayRef) -> Result<Vec<f64>> {
    let values = cast(values, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    Ok(values.iter().flatten().collect())
}

/// All values of a statement without groups, or of a window's frame.
///
/// DataFusion's reads one list of those that it merges.
#[derive(Debug)]
struct PercentileValues {
    percentile: Percentile,
    values: Vec<f64>,
}

impl Accumulator for PercentileValues {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        self.values.extend(numbers(&arguments[0])?);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.values.extend(numbers(&values)?);
        }
        Ok(())
    }

    fn retract_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        self.values.sort_by(f64::total_cmp);
        for value in numbers(&arguments[0])? {
            let Ok(place) = self.values.binary_search_by(|held| held.total_cmp(&value)) else {
                return exec_err!("{value} left a window that does not hold it");
            };
            self.values.remove(place);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = Float64Array::from(std::mem::take(&mut self.values));
        let values = cast(&values, &self.percentile.data_type)?;
        let list = SingleRowListArrayBuilder::new(values).build_list_scalar();
        Ok(vec![list])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Those of the frame before are sorted already.
        let found = self.percentile.among(&mut self.values);
        ScalarValue::Float64(found).cast_to(&self.percentile.data_type)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::Percentile;

    #[test]
    fn a_percentile_has_all_digits_of_its_share() {
        let among = |values: &[f64], share, is_descending| {
            let data_type = DataType::Float64;
            let percentile = Percentile {
                share,
                is_descending,
                data_type,
            };
            percentile.among(&mut values.to_vec())
        };
        let found = among(&[1e9, 0.0], 0.123_456_789, false);
        assert_eq!(found, Some(123_456_789.0));
        assert_eq!(among(&[0.01, 0.02], 0.5, false), Some(0.015));
        assert_eq!(among(&[0.0, 1.0, 5.0], 0.25, true), Some(3.0));
        let infinity = f64::INFINITY;
        assert_eq!(among(&[infinity; 3], 0.4, false), Some(infinity));
        assert_eq!(among(&[1.0, 2.0, infinity], 0.5, false), Some(2.0));
        assert_eq!(among(&[7.0], 1.0, true), Some(7.0));
        assert_eq!(among(&[], 0.5, false), None);
    }
}
