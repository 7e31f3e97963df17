//! A duration as an interval of days and time, which is what PostgreSQL's difference of two
//! instants is.
//!
//! DataFusion extracts the minutes of a duration as its whole length in minutes.

use std::sync::Arc;

use arrow::array::{AsArray as _, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNano, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const MICROSECONDS_OF_DAY: i64 = 86_400_000_000;

/// `duration` as an interval.
pub(crate) fn call(duration: Expr) -> Expr {
    ScalarUDF::from(DayTime::new()).call(vec![duration])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DayTime {
    signature: Signature,
}

impl DayTime {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for DayTime {
    fn name(&self) -> &str {
        "day_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let durations = arguments.args[0].to_array(arguments.number_rows)?;
        let durations = cast(&durations, &DataType::Duration(TimeUnit::Microsecond))?;
        let durations = durations.as_primitive::<DurationMicrosecondType>();
        let intervals: IntervalMonthDayNanoArray = durations
            .iter()
            .map(|duration| duration.map(interval).transpose())
            .collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(intervals)))
    }
}

fn interval(microseconds: i64) -> Result<IntervalMonthDayNano> {
    let days = i32::try_from(microseconds / MICROSECONDS_OF_DAY).map_err(|_| {
        exec_datafusion_err!("a duration of {microseconds} microseconds has too many days")
    })?;
    let nanoseconds = microseconds % MICROSECONDS_OF_DAY * 1000;
    Ok(IntervalMonthDayNano::new(0, days, nanoseconds))
}
