//! Sums of intervals: months, days and nanoseconds apart, each exact, or an error. DataFusion's
//! wrap.

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

/// The type of INTERVAL.
pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The sum of rows that come and, in a sliding window, leave.
#[derive(Debug, Default)]
pub(super) struct IntervalSum {
    months: i64,
    days: i64,
    nanoseconds: i128,
    rows: i64,
}

impl IntervalSum {
    /// Counts each value `times`: 1 for rows that come, -1 for those that leave.
    fn count(&mut self, values: &ArrayRef, times: i8) {
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        for value in values.iter().flatten() {
            self.months += i64::from(times) * i64::from(value.months);
            self.days += i64::from(times) * i64::from(value.days);
            self.nanoseconds += i128::from(times) * i128::from(value.nanoseconds);
            self.rows += i64::from(times);
        }
    }
}

impl Accumulator for IntervalSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(&values[0], 1);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(&values[0], -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.rows == 0 {
            return Ok(ScalarValue::IntervalMonthDayNano(None));
        }
        let out_of_range = |_| {
            let text = "Overflow happened on: sum(), which is out of range of INTERVAL";
            ArrowError::ArithmeticOverflow(text.to_owned())
        };
        let sum = IntervalMonthDayNano {
            months: i32::try_from(self.months).map_err(out_of_range)?,
            days: i32::try_from(self.days).map_err(out_of_range)?,
            nanoseconds: i64::try_from(self.nanoseconds).map_err(out_of_range)?,
        };
        Ok(ScalarValue::IntervalMonthDayNano(Some(sum)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
