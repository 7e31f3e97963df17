//! `date_bin`: the beginning of the bin that a time lies in, of bins as long as one another.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, PrimitiveArray};
use arrow::datatypes::{
    DataType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use chrono::{Datelike as _, Months, NaiveDateTime};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::functions::datetime::date_bin;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{clock_of, in_micros};

/// `date_bin(length, time [, origin])`. DataFusion's counts in nanoseconds, and answers null,
/// without a word, where a time lies before 1677 or after 2262.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateBin {
    signature: Signature,
    /// For times of day.
    of_times: Arc<ScalarUDF>,
}

/// How long a bin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Micros(i64),
    Months(i32),
}

impl Length {
    fn of(months: i32, days: i32, nanos: i64) -> Result<Self> {
        if months != 0 && (days != 0 || nanos != 0) {
            return exec_err!(
                "date_bin: an interval of months together with days or hours has no one length"
            );
        }
        if nanos % 1_000 != 0 {
            return exec_err!(
                "date_bin: bins of less than a microsecond are too short; instants have microseconds"
            );
        }
        let micros = i64::from(days) * 86_400_000_000 + nanos / 1_000;
        if months < 0 || micros < 0 || (months == 0 && micros == 0) {
            return exec_err!("date_bin: the interval must be greater than zero");
        }
        Ok(if months == 0 {
            Self::Micros(micros)
        } else {
            Self::Months(months)
        })
    }

    /// The beginning of the bin of `time_us`, where one bin begins at `origin_us`.
    fn begin(self, time_us: i64, origin_us: i64) -> Result<i64> {
        let begun = match self {
            Self::Micros(length_us) => {
                let (time, origin) = (i128::from(time_us), i128::from(origin_us));
                let begin = time - (time - origin).rem_euclid(i128::from(length_us));
                i64::try_from(begin).ok()
            }
            Self::Months(months) => begin_months(months, clock_of(time_us)?, clock_of(origin_us)?),
        };
        begun.ok_or_else(|| exec_datafusion_err!("date_bin: a bin begins out of range"))
    }
}

fn begin_months(months: i32, time: NaiveDateTime, origin: NaiveDateTime) -> Option<i64> {
    let between = (time.year() - origin.year()) * 12 + time.month().cast_signed()
        - origin.month().cast_signed();
    let begin = |bin: i32| {
        let shift = bin.checked_mul(months)?;
        if shift < 0 {
            origin.checked_sub_months(Months::new(shift.unsigned_abs()))
        } else {
            origin.checked_add_months(Months::new(shift.unsigned_abs()))
        }
    };
    let bin = between.div_euclid(months);
    // The bin of this month may begin later in it than the time.
    let begun = match begin(bin)? {
        later if later > time => begin(bin - 1)?,
        begun => begun,
    };
    Some(begun.and_utc().timestamp_micros())
}

impl DateBin {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            of_times: date_bin(),
        }
    }
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        "date_bin"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let ([length, time] | [length, time, _]) = arguments else {
            return plan_err!("date_bin takes an interval, a time, and may take an origin");
        };
        match length {
            DataType::Interval(_) | DataType::Duration(_) | DataType::Null => {}
            text if text.is_string() => {}
            other => return plan_err!("date_bin takes an interval first, and not {other}"),
        }
        let time = match time {
            DataType::Time32(_) | DataType::Time64(_) => time.clone(),
            other => match in_micros(other) {
                Some(time) => time,
                None => {
                    return plan_err!(
                        "date_bin takes an instant, a day or a time, and not {other}"
                    );
                }
            },
        };
        let mut types = vec![DataType::Interval(IntervalUnit::MonthDayNano), time.clone()];
        types.extend(arguments.get(2).map(|_| time));
        Ok(types)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[1].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = arguments.args[1].data_type() else {
            return self.of_times.invoke_with_args(arguments);
        };
        let is_scalar = arguments
            .args
            .iter()
            .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { arguments.number_rows };
        let lengths = arguments.args[0].to_array(rows)?;
        let lengths = lengths.as_primitive::<IntervalMonthDayNanoType>();
        let times = arguments.args[1].to_array(rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let origins = arguments
            .args
            .get(2)
            .map(|origin| origin.to_array(rows))
            .transpose()?;
        let origins = origins
            .as_ref()
            .map(|origins| origins.as_primitive::<TimestampMicrosecondType>());
        let mut known = None;
        let mut begun = Vec::with_capacity(rows);
        for row in 0..rows {
            let is_null = lengths.is_null(row)
                || times.is_null(row)
                || origins.is_some_and(|origins| origins.is_null(row));
            if is_null {
                begun.push(None);
                continue;
            }
            let written = lengths.value(row);
            let length = match known {
                Some((same, length)) if same == written => length,
                _ => Length::of(written.months, written.days, written.nanoseconds)?,
            };
            known = Some((written, length));
            let origin = origins.map_or(0, |origins| origins.value(row));
            begun.push(Some(length.begin(times.value(row), origin)?));
        }
        let begun = PrimitiveArray::<TimestampMicrosecondType>::from(begun).with_timezone_opt(zone);
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &begun, 0,
            )?));
        }
        Ok(ColumnarValue::Array(Arc::new(begun)))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        let is_constant =
            |input: &ExprProperties| input.sort_properties == SortProperties::Singleton;
        let is_fixed = is_constant(&inputs[0]) && inputs.get(2).is_none_or(is_constant);
        Ok(if is_fixed {
            inputs[1].sort_properties
        } else {
            SortProperties::Unordered
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDateTime;

    use super::{Length, clock_of};

    /// Results of PostgreSQL 15.18; months, which it does not have, worked out by hand.
    #[test]
    fn bins_begin_where_postgresql_begins_them() {
        let minutes = |minutes: i64| Length::of(0, 0, minutes * 60_000_000_000).expect("a length");
        let days = |days| Length::of(0, days, 0).expect("a length");
        let months = |months| Length::of(months, 0, 0).expect("a length");
        for (length, time, origin, expected) in [
            (
                minutes(15),
                "0001-01-01T00:07:00",
                "2001-01-01T00:00:00",
                "0001-01-01 00:00:00",
            ),
            (
                days(1),
                "9999-12-31T23:59:59",
                "1970-01-01T12:00:00",
                "9999-12-31 12:00:00",
            ),
            (
                minutes(15),
                "1969-12-31T23:59:59",
                "1970-01-01T00:00:00",
                "1969-12-31 23:45:00",
            ),
            (
                months(3),
                "9999-12-31T00:00:00",
                "1970-01-01T00:00:00",
                "9999-10-01 00:00:00",
            ),
            (
                months(1),
                "2026-01-10T00:00:00",
                "1970-01-15T00:00:00",
                "2025-12-15 00:00:00",
            ),
        ] {
            let micros = |text: &str| {
                let time: NaiveDateTime = text.parse().expect(text);
                time.and_utc().timestamp_micros()
            };
            let begun = length
                .begin(micros(time), micros(origin))
                .expect("in range");
            assert_eq!(
                clock_of(begun).expect("in range").to_string(),
                expected,
                "{time}"
            );
        }
    }

    #[test]
    fn a_length_that_is_none_is_refused() {
        for (months, days, nanos) in [(0, 0, 0), (0, -1, 0), (-1, 0, 0), (1, 1, 0), (0, 0, 500)] {
            assert!(
                Length::of(months, days, nanos).is_err(),
                "{months} {days} {nanos}"
            );
        }
    }
}
