//! The most frequent value of a group.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

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
        Ok(Box::new(Counts {
            data_type: arguments.return_field.data_type().clone(),
            counts: HashMap::new(),
            bytes: 0,
        }))
    }

    /// The values of a group, and how many rows have each.
    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |name: &str, element: DataType| {
            let element = Field::new_list_field(element, true);
            Arc::new(Field::new(
                format!("{}[{name}]", arguments.name),
                DataType::List(Arc::new(element)),
                true,
            ))
        };
        let value = arguments.return_field.data_type().clone();
        Ok(vec![list("values", value), list("counts", DataType::Int64)])
    }
}

#[derive(Debug)]
struct Counts {
    data_type: DataType,
    counts: HashMap<ScalarValue, i64>,
    bytes: usize,
}

impl Counts {
    fn add(&mut self, value: ScalarValue, count: i64) {
        if let Some(known) = self.counts.get_mut(&value) {
            *known += count;
        } else {
            self.bytes += value.size() + size_of::<i64>();
            self.counts.insert(value, count);
        }
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            if values[0].is_valid(row) {
                self.add(ScalarValue::try_from_array(&values[0], row)?.compacted(), 1);
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
        let mut found: Option<(&ScalarValue, i64)> = None;
        for (value, count) in &self.counts {
            let is_better = match found {
                None => true,
                Some((other, most)) if *count == most => match value.partial_cmp(other) {
                    Some(order) => order.is_lt(),
                    None => return internal_err!("mode: values have no order"),
                },
                Some((_, most)) => *count > most,
            };
            if is_better {
                found = Some((value, *count));
            }
        }
        match found {
            Some((value, _)) => Ok(value.clone()),
            None => ScalarValue::try_from(&self.data_type),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}
