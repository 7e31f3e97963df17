//! Aggregates that count how often each value of a group occurs: the most frequent one, and the one
//! at a share of the rows.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

use super::numbers::float_key;

/// `mode(x)`: the value that most rows have; of several the smallest. Nulls do not count.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Mode {
    signature: Signature,
}

impl Mode {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &str {
        "mode"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(ValueCounts::new(&arguments, Pick::MostFrequent)))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields(&arguments))
    }
}

/// `quantile_disc(x, share)`: the smallest value that at least `share` of the rows do not exceed,
/// as `percentile_disc` of PostgreSQL; with `'desc'` the largest one that as many do not fall
/// below. Nulls do not count.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Quantile {
    signature: Signature,
}

impl Quantile {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::one_of(
                vec![TypeSignature::Any(2), TypeSignature::Any(3)],
                Volatility::Immutable,
            ),
        }
    }
}

impl AggregateUDFImpl for Quantile {
    fn name(&self) -> &str {
        "quantile_disc"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let literal = |position: usize| {
            let expr = arguments.exprs.get(position)?;
            let literal = expr.downcast_ref::<Literal>()?;
            Some(literal.value().clone())
        };
        let share = literal(1).map(|share| share.cast_to(&DataType::Float64));
        let share = match share.transpose()? {
            Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(&share) => share,
            _ => return plan_err!("{} takes a share from 0 to 1, literally", self.name()),
        };
        let is_descending = arguments.exprs.len() > 2;
        let pick = if is_descending {
            Pick::FromLargest(share)
        } else {
            Pick::FromSmallest(share)
        };
        Ok(Box::new(ValueCounts::new(&arguments, pick)))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields(&arguments))
    }
}

/// The values of a group, and how many rows have each.
fn state_fields(arguments: &StateFieldsArgs) -> Vec<FieldRef> {
    let list = |name: &str, element: DataType| {
        let element = Field::new_list_field(element, true);
        Arc::new(Field::new(
            format!("{}[{name}]", arguments.name),
            DataType::List(Arc::new(element)),
            true,
        ))
    };
    let value = arguments.return_field.data_type().clone();
    vec![list("values", value), list("counts", DataType::Int64)]
}

/// Values of a state that are taken in between two checks whether the statement has ended.
const CHECKED_EACH: usize = 8_192;

/// Which value is wanted.
#[derive(Clone, Copy, Debug)]
enum Pick {
    /// Of several the smallest.
    MostFrequent,
    /// The first that this share of the rows does not exceed.
    FromSmallest(f64),
    /// The first, from the largest down, that this share of the rows does not fall below.
    FromLargest(f64),
}

#[derive(Debug)]
struct ValueCounts {
    pick: Pick,
    data_type: DataType,
    counts: HashMap<ScalarValue, i64>,
    bytes: usize,
}

impl ValueCounts {
    fn new(arguments: &AccumulatorArgs, pick: Pick) -> Self {
        Self {
            pick,
            data_type: arguments.return_field.data_type().clone(),
            counts: HashMap::new(),
            bytes: 0,
        }
    }

    /// The values in order, with how many rows have each.
    fn sorted(&self) -> Result<Vec<(&ScalarValue, i64)>> {
        let mut sorted: Vec<_> = self.counts.iter().map(|(value, n)| (value, *n)).collect();
        let has_order = sorted
            .iter()
            .all(|(value, _)| value.partial_cmp(value).is_some());
        if !has_order {
            return plan_err!("values of {} have no order", self.data_type);
        }
        sorted.sort_by(|(one, _), (other, _)| one.partial_cmp(other).unwrap_or(Ordering::Equal));
        Ok(sorted)
    }

    fn add(&mut self, value: ScalarValue, count: i64) {
        if let Some(known) = self.counts.get_mut(&value) {
            *known += count;
        } else {
            self.bytes += value.size() - size_of::<ScalarValue>();
            self.counts.insert(value, count);
        }
    }
}

impl Accumulator for ValueCounts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        allocations::check()?;
        let values = float_key::canonical(&values[0]);
        for row in 0..values.len() {
            if values.is_valid(row) {
                self.add(ScalarValue::try_from_array(&values, row)?.compacted(), 1);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (values, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for (values, counts) in values.iter().zip(counts.iter()) {
            let (Some(values), Some(counts)) = (values, counts) else {
                continue;
            };
            let counts = counts.as_primitive::<Int64Type>();
            for row in 0..values.len() {
                if row % CHECKED_EACH == 0 {
                    allocations::check()?;
                }
                let value = ScalarValue::try_from_array(&values, row)?.compacted();
                self.add(value, counts.value(row));
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let counts = std::mem::take(&mut self.counts);
        let (values, counts): (Vec<_>, Vec<_>) = counts.into_iter().unzip();
        let counts: Vec<_> = counts
            .into_iter()
            .map(|n| ScalarValue::Int64(Some(n)))
            .collect();
        let values = ScalarValue::new_list_nullable(&values, &self.data_type);
        let counts = ScalarValue::new_list_nullable(&counts, &DataType::Int64);
        Ok(vec![ScalarValue::List(values), ScalarValue::List(counts)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sorted = self.sorted()?;
        let found = match self.pick {
            Pick::MostFrequent => {
                // Of equals the last is taken, which is the smallest this way round.
                let descending = sorted.iter().rev();
                descending.max_by_key(|(_, count)| *count)
            }
            Pick::FromSmallest(share) => at_share(&sorted, share),
            Pick::FromLargest(share) => {
                sorted.reverse();
                at_share(&sorted, share)
            }
        };
        match found {
            Some((value, _)) => Ok((*value).clone()),
            None => ScalarValue::try_from(&self.data_type),
        }
    }

    fn size(&self) -> usize {
        let entry = size_of::<(ScalarValue, i64)>() + 1;
        // The state is made beside the table.
        2 * (self.counts.capacity() * entry + self.bytes)
    }
}

/// The first value with which `share` of the rows are reached.
fn at_share<'a, 'v>(
    sorted: &'a [(&'v ScalarValue, i64)],
    share: f64,
) -> Option<&'a (&'v ScalarValue, i64)> {
    let rows: i64 = sorted.iter().map(|(_, count)| count).sum();
    let mut before = 0;
    sorted.iter().find(|(_, count)| {
        before += count;
        before as f64 >= share * rows as f64
    })
}
