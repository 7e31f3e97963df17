//! The length of an interval or a duration in nanoseconds, by which PostgreSQL and DuckDB compare
//! them: a month is 30 days, and a day 24 hours.
//!
//! DataFusion compares months, days and nanoseconds one after another: `INTERVAL '1 day' > INTERVAL
//! '25 hours'` there, and a difference of two instants, which has no days, is less than any
//! interval of days.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DURATION: DataType = DataType::Duration(TimeUnit::Microsecond);
const NANOSECONDS: DataType = DataType::Decimal128(38, 0);
const DAY: i128 = 86_400_000_000_000;

/// The length of `span`, which is an interval, a duration, or a text that is cast to an interval.
pub(crate) fn span_length(span: Expr) -> Expr {
    ScalarUDF::from(SpanLength::new()).call(vec![span])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SpanLength {
    signature: Signature,
}

impl SpanLength {
    fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for SpanLength {
    fn name(&self) -> &str {
        "span_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Duration(_)] => Ok(vec![DURATION]),
            [_] => Ok(vec![INTERVAL]),
            _ => plan_err!("span_length takes an interval or a duration"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(NANOSECONDS)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let lengths: Decimal128Array = if columns[0].data_type() == &DURATION {
            let spans = columns[0].as_primitive::<DurationMicrosecondType>();
            let length = |span: i64| i128::from(span) * 1000;
            spans.iter().map(|span| span.map(length)).collect()
        } else {
            let spans = cast(&columns[0], &INTERVAL)?;
            let spans = spans.as_primitive::<IntervalMonthDayNanoType>();
            spans.iter().map(|span| span.map(length)).collect()
        };
        let lengths: ArrayRef = Arc::new(lengths.with_data_type(NANOSECONDS));
        Ok(ColumnarValue::Array(lengths))
    }
}

/// Nanoseconds of `span`.
pub(crate) fn length(span: IntervalMonthDayNano) -> i128 {
    let days = i128::from(span.months) * 30 + i128::from(span.days);
    days * DAY + i128::from(span.nanoseconds)
}
