//! The table functions `generate_series` and `range` over days and times.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Field, IntervalMonthDayNano, Schema, TimeUnit, TimestampMicrosecondType,
};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::Expr;

/// Most rows of one series of times; half a year of seconds is 15 million.
const ROWS_MAX: usize = 20_000_000;

/// DataFusion's function where it is given numbers, and a series of microseconds where it is given
/// times: its own takes literals of nanoseconds alone, which TIMESTAMP is not here.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) of_numbers: Arc<dyn TableFunctionImpl>,
    /// Whether the end is part of it.
    pub(crate) with_end: bool,
}

impl TableFunctionImpl for Series {
    fn call_with_args(&self, arguments: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let literal = |at: usize| match arguments.exprs().get(at) {
            Some(Expr::Literal(value, _)) => Some(value.clone()),
            _ => None,
        };
        let zone = match literal(0).map(|first| first.data_type()) {
            Some(DataType::Timestamp(_, zone)) => zone,
            Some(DataType::Date32) => None,
            _ => return self.of_numbers.call_with_args(arguments),
        };
        let (Some(from), Some(to), Some(step)) = (literal(0), literal(1), literal(2)) else {
            return plan_err!(
                "{} of times takes a first and a last one and an interval, written out",
                self.name
            );
        };
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
        let schema = Arc::new(Schema::new(vec![Field::new(
            "value",
            data_type.clone(),
            false,
        )]));
        let (from, to) = (from.cast_to(&data_type)?, to.cast_to(&data_type)?);
        let (ScalarValue::TimestampMicrosecond(from, _), ScalarValue::TimestampMicrosecond(to, _)) =
            (from, to)
        else {
            return plan_err!("{} takes two times", self.name);
        };
        let step = match step {
            ScalarValue::IntervalMonthDayNano(step) => step,
            ScalarValue::Null => None,
            other => {
                return plan_err!(
                    "{} of times takes an interval third, and not {}",
                    self.name,
                    other.data_type()
                );
            }
        };
        let values = match (from, to, step) {
            (Some(from), Some(to), Some(step)) => self.values(from, to, step, zone.as_deref())?,
            _ => Vec::new(),
        };
        let values = TimestampMicrosecondArray::from(values).with_timezone_opt(zone);
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(values)])?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}

impl Series {
    fn values(
        &self,
        from: i64,
        to: i64,
        step: IntervalMonthDayNano,
        zone: Option<&str>,
    ) -> Result<Vec<i64>> {
        let zone: Tz = zone.unwrap_or("UTC").parse()?;
        let next = |time| TimestampMicrosecondType::add_month_day_nano(time, step, zone);
        let rises = match next(from) {
            Some(second) if second != from => second > from,
            Some(_) => return exec_err!("{}: the interval is zero", self.name),
            None => return exec_err!("{}: the interval is out of range", self.name),
        };
        let mut values = Vec::new();
        let mut at = Some(from);
        while let Some(time) = at
            && (if rises { time < to } else { time > to } || (self.with_end && time == to))
        {
            if values.len() == ROWS_MAX {
                return exec_err!("{}: the series has more than {ROWS_MAX} times", self.name);
            }
            values.push(time);
            at = next(time);
        }
        Ok(values)
    }
}
