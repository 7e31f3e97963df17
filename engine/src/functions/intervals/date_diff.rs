//! Days and other units between two instants, and days added to a day.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, Date32Array, Int64Array};
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike as _};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility, lit,
};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// `date_diff(unit, start, end)`: how many borders of `unit` lie between `start` and `end`, as
/// DuckDB counts: the border of days is midnight. A week is seven of those, whatever day it begins
/// on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::functions) struct DateDiff {
    signature: Signature,
}

/// The days from `start` to `end`, which are DATEs.
pub(crate) fn days_between(start: Expr, end: Expr) -> Expr {
    ScalarUDF::from(DateDiff::new()).call(vec![lit("day"), start, end])
}

impl DateDiff {
    pub(in crate::functions) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for DateDiff {
    fn name(&self) -> &str {
        "date_diff"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, _, _] => Ok(vec![DataType::Utf8, INSTANT, INSTANT]),
            _ => plan_err!("date_diff takes a unit and two instants: date_diff('day', start, end)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let units = columns[0].as_string::<i32>();
        let starts = columns[1].as_primitive::<TimestampMicrosecondType>();
        let ends = columns[2].as_primitive::<TimestampMicrosecondType>();
        let mut differences = Vec::with_capacity(units.len());
        for ((unit, start), end) in units.iter().zip(starts).zip(ends) {
            differences.push(match (unit, start, end) {
                (Some(unit), Some(start), Some(end)) => {
                    let unit = Unit::of(unit)?;
                    Some((unit.number(end)? - unit.number(start)?) / unit.size())
                }
                _ => None,
            });
        }
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(
            differences,
        ))))
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Microseconds(i64),
    Week,
    Months(i64),
}

impl Unit {
    fn of(name: &str) -> Result<Self> {
        let fixed = Self::Microseconds;
        let lower = name.to_lowercase();
        Ok(match lower.strip_suffix('s').unwrap_or(&lower) {
            "microsecond" => fixed(1),
            "millisecond" => fixed(1_000),
            "second" => fixed(SECOND),
            "minute" => fixed(60 * SECOND),
            "hour" => fixed(3_600 * SECOND),
            "day" => fixed(DAY),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            "decade" => Self::Months(120),
            _ => {
                return exec_err!(
                    "date_diff knows no unit \"{name}\"; use microsecond, millisecond, second, minute, hour, day, week, month, quarter, year or decade"
                );
            }
        })
    }

    /// How many of what [`Self::number`] counts are one unit.
    fn size(self) -> i64 {
        match self {
            Self::Week => 7,
            Self::Microseconds(_) | Self::Months(_) => 1,
        }
    }

    /// The number of the unit (of weeks: the day) that `instant_us` lies in.
    fn number(self, instant_us: i64) -> Result<i64> {
        match self {
            Self::Microseconds(length_us) => Ok(instant_us.div_euclid(length_us)),
            Self::Week => Ok(instant_us.div_euclid(DAY)),
            Self::Months(months) => {
                let instant = DateTime::from_timestamp_micros(instant_us).ok_or_else(|| {
                    exec_datafusion_err!("instant {instant_us} us is out of range")
                })?;
                let month = i64::from(instant.year()) * 12 + i64::from(instant.month0());
                Ok(month.div_euclid(months))
            }
        }
    }
}

/// `date_add(day, n)` and `date_sub(day, n)`: the day `n` days later or earlier, as in Spark.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::functions) struct AddDays {
    name: &'static str,
    sign: i64,
    signature: Signature,
}

impl AddDays {
    pub(in crate::functions) fn add() -> Self {
        Self::new("date_add", 1)
    }

    pub(in crate::functions) fn sub() -> Self {
        Self::new("date_sub", -1)
    }

    fn new(name: &'static str, sign: i64) -> Self {
        Self {
            name,
            sign,
            signature: Signature::new(
                TypeSignature::Exact(vec![DataType::Date32, DataType::Int64]),
                Volatility::Immutable,
            ),
        }
    }
}

impl ScalarUDFImpl for AddDays {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let days = columns[0].as_primitive::<Date32Type>();
        let added = columns[1].as_primitive::<Int64Type>();
        let mut found = Vec::with_capacity(days.len());
        for (day, added) in days.iter().zip(added) {
            found.push(match (day, added) {
                (Some(day), Some(added)) => Some(self.shifted(day, added)?),
                _ => None,
            });
        }
        Ok(ColumnarValue::Array(Arc::new(Date32Array::from(found))))
    }
}

impl AddDays {
    fn shifted(&self, day: i32, added: i64) -> Result<i32> {
        let shifted = added.checked_mul(self.sign);
        let shifted = shifted.and_then(|added| i64::from(day).checked_add(added));
        let shifted = shifted.and_then(|day| i32::try_from(day).ok());
        shifted.ok_or_else(|| exec_datafusion_err!("{}: the day is out of range", self.name))
    }
}
