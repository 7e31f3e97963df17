//! `lead` and `lag` that ignore nulls.
//!
//! DataFusion 55 counts nulls as well (apache/datafusion#25471): `lead(v, 2) IGNORE NULLS` gives a
//! row too near or too far. `lead(v, n, d) IGNORE NULLS` is planned as `lead_ignoring_nulls(v, n,
//! d)`, see `sql::calls`.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, UInt64Array};
use arrow::compute::{cast, is_null, kernels::zip::zip, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};

pub(crate) const LEAD: &str = "lead_ignoring_nulls";
pub(crate) const LAG: &str = "lag_ignoring_nulls";

pub(super) fn lead() -> WindowUDF {
    WindowUDF::from(Shift::new(LEAD))
}

pub(super) fn lag() -> WindowUDF {
    WindowUDF::from(Shift::new(LAG))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift {
    name: &'static str,
    signature: Signature,
}

impl Shift {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl WindowUDFImpl for Shift {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The value, how many values away, and the default of the value's type.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [value] => Ok(vec![value.clone()]),
            [value, _] => Ok(vec![value.clone(), DataType::Int64]),
            [value, _, _] => Ok(vec![value.clone(), DataType::Int64, value.clone()]),
            _ => plan_err!("{} takes a value, a distance and a default", self.name),
        }
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let is_forward = self.name == LEAD;
        Ok(Box::new(Evaluator { is_forward }))
    }

    fn field(&self, arguments: WindowUDFFieldArgs) -> Result<FieldRef> {
        let Some(value) = arguments.input_fields().first() else {
            return plan_err!("{} takes a value, a distance and a default", self.name);
        };
        let field = Field::new(arguments.name(), value.data_type().clone(), true);
        Ok(Arc::new(field))
    }
}

#[derive(Debug)]
struct Evaluator {
    is_forward: bool,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let values = &arguments[0];
        let known: Vec<usize> = (0..rows).filter(|row| values.is_valid(*row)).collect();
        let distances = match arguments.get(1) {
            Some(distances) => Some(cast(distances, &DataType::Int64)?),
            None => None,
        };
        let distance = |row: usize| match &distances {
            Some(distances) => {
                let distances = distances.as_primitive::<Int64Type>();
                distances.is_valid(row).then(|| distances.value(row))
            }
            None => Some(1),
        };
        let found = (0..rows).map(|row| {
            let distance = distance(row)?;
            let found = self.find(&known, row, distance)?;
            u64::try_from(found).ok()
        });
        let found: UInt64Array = found.collect();
        let shifted = take(values, &found, None)?;
        match arguments.get(2) {
            Some(defaults) => Ok(zip(&is_null(&found)?, defaults, &shifted)?),
            None => Ok(shifted),
        }
    }
}

impl Evaluator {
    /// The row whose value is `distance` values away from `row`; `known` are the rows that have
    /// one, in order.
    fn find(&self, known: &[usize], row: usize, distance: i64) -> Option<usize> {
        let ahead = if self.is_forward {
            distance
        } else {
            distance.checked_neg()?
        };
        let steps = usize::try_from(ahead.unsigned_abs()).ok()?;
        let position = match ahead {
            0 => return Some(row),
            1.. => known
                .partition_point(|other| *other <= row)
                .checked_add(steps - 1)?,
            _ => known
                .partition_point(|other| *other < row)
                .checked_sub(steps)?,
        };
        known.get(position).copied()
    }
}
