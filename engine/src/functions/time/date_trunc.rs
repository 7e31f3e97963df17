//! `date_trunc`: the beginning of the hour, day, month or another span that a time lies in.

use std::sync::Arc;

use arrow::array::{AsArray as _, PrimitiveArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{Datelike as _, NaiveDate, NaiveDateTime};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::zone::Zone;
use super::{clock_of, in_micros};

/// `date_trunc(span, time)`. DataFusion's goes through nanoseconds for anything that is longer than
/// a minute, and fails on what lies before 1677 or after 2262.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateTrunc {
    signature: Signature,
    aliases: Vec<String>,
    /// For times of day, which have no such limit.
    of_times: Arc<ScalarUDF>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    /// As long everywhere, in microseconds.
    Even(i64),
    Week,
    Months(i32),
    /// Years that are counted from 0.
    Years(i32),
    /// Years that are counted from 1, as centuries are.
    YearsFromOne(i32),
}

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
const DAY_US: i64 = 24 * HOUR_US;

impl Span {
    /// PostgreSQL's names; each may be a plural.
    fn read(name: &str) -> Result<Self> {
        let lower = name.to_ascii_lowercase();
        Ok(match lower.strip_suffix('s').unwrap_or(&lower) {
            "microsecond" => Self::Even(1),
            "millisecond" => Self::Even(1_000),
            "second" => Self::Even(SECOND_US),
            "minute" => Self::Even(60 * SECOND_US),
            "hour" => Self::Even(HOUR_US),
            "day" => Self::Even(DAY_US),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Years(1),
            "decade" => Self::Years(10),
            "centurie" | "century" => Self::YearsFromOne(100),
            "millennium" | "millenium" => Self::YearsFromOne(1_000),
            _ => {
                return exec_err!(
                    "date_trunc knows no \"{name}\"; it takes microsecond, millisecond, second, minute, hour, day, week, \
                     month, quarter, year, decade, century and millennium"
                );
            }
        })
    }

    /// The beginning of the span that the clock `local_us` lies in.
    fn begin(self, local_us: i64) -> Option<i64> {
        if let Self::Even(length_us) = self {
            return local_us.checked_sub(local_us.rem_euclid(length_us));
        }
        let day = clock_of(local_us).ok()?.date();
        let first = match self {
            Self::Even(_) => day,
            Self::Week => day.checked_sub_days(chrono::Days::new(u64::from(
                day.weekday().num_days_from_monday(),
            )))?,
            Self::Months(months) => {
                let month = day.month0().cast_signed();
                NaiveDate::from_ymd_opt(
                    day.year(),
                    (month - month % months + 1).cast_unsigned(),
                    1,
                )?
            }
            Self::Years(years) => {
                NaiveDate::from_ymd_opt(day.year().div_euclid(years) * years, 1, 1)?
            }
            Self::YearsFromOne(years) => {
                let before = (day.year() - 1).div_euclid(years) * years;
                NaiveDate::from_ymd_opt(before + 1, 1, 1)?
            }
        };
        i64::from(first.to_epoch_days()).checked_mul(DAY_US)
    }

    /// The beginning of the span that the instant lies in, by the clocks of `zone`.
    fn begin_in(self, instant_us: i64, zone: Zone) -> Result<i64> {
        let out_of_range = || exec_datafusion_err!("date_trunc: an instant is out of range");
        let offset_us = i64::from(zone.offset_at(clock_of(instant_us)?)) * SECOND_US;
        let local_us = instant_us.checked_add(offset_us).ok_or_else(out_of_range)?;
        let begin_us = self.begin(local_us).ok_or_else(out_of_range)?;
        // What ends within the hour keeps its side of a change of the clocks, so that the two hours
        // of autumn stay apart.
        if matches!(self, Self::Even(length_us) if length_us <= HOUR_US) {
            return Ok(begin_us - offset_us);
        }
        let local: NaiveDateTime = clock_of(begin_us)?;
        Ok(begin_us - i64::from(zone.offset_of_local(local)) * SECOND_US)
    }
}

impl DateTrunc {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            aliases: vec!["datetrunc".to_owned()],
            of_times: date_trunc(),
        }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        "date_trunc"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let ([span, time] | [span, time, _]) = arguments else {
            return plan_err!("date_trunc takes a span and a time");
        };
        if !span.is_string() {
            return plan_err!("the span of date_trunc is a text such as 'hour', and not {span}");
        }
        let time = match time {
            DataType::Time32(_) | DataType::Time64(_) => time.clone(),
            other => match in_micros(other) {
                Some(time) => time,
                None => {
                    return plan_err!(
                        "date_trunc takes an instant, a day or a time, and not {other}"
                    );
                }
            },
        };
        let mut types = vec![DataType::Utf8, time];
        if arguments.len() == 3 {
            types[1] = super::instant();
            types.push(DataType::Utf8);
        }
        Ok(types)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[1].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let time = &arguments.args[1];
        let DataType::Timestamp(TimeUnit::Microsecond, type_zone) = time.data_type() else {
            return self.of_times.invoke_with_args(arguments);
        };
        let text = |argument: &ColumnarValue, what: &str| match argument {
            ColumnarValue::Scalar(value) => match value.try_as_str().flatten() {
                Some(text) => Ok(text.to_owned()),
                None => exec_err!("date_trunc: the {what} is null"),
            },
            ColumnarValue::Array(_) => {
                exec_err!("date_trunc: the {what} is a column; write a text such as 'hour'")
            }
        };
        let span = Span::read(&text(&arguments.args[0], "span")?)?;
        let zone = match (arguments.args.get(2), &type_zone) {
            (Some(zone), _) => Some(Zone::read(&text(zone, "zone")?)?),
            (None, Some(zone)) => Some(Zone::read(zone)?),
            (None, None) => None,
        };
        let zone =
            zone.filter(|zone| !matches!(zone, Zone::Named(chrono_tz::UTC) | Zone::Fixed(0)));
        let begin = |time_us: i64| match zone {
            Some(zone) => span.begin_in(time_us, zone),
            None => span
                .begin(time_us)
                .ok_or_else(|| exec_datafusion_err!("date_trunc: an instant is out of range")),
        };
        match time {
            ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(value, _)) => {
                let value = value.map(begin).transpose()?;
                Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(
                    value, type_zone,
                )))
            }
            other => {
                let times = other.to_array(arguments.number_rows)?;
                let times = times.as_primitive::<TimestampMicrosecondType>();
                let begun: PrimitiveArray<TimestampMicrosecondType> = times.try_unary(begin)?;
                Ok(ColumnarValue::Array(Arc::new(
                    begun.with_timezone_opt(type_zone),
                )))
            }
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        // In a zone whose clocks are put back a later instant can be that of an earlier hour.
        let is_fixed = inputs[0].sort_properties == SortProperties::Singleton && inputs.len() == 2;
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

    use super::{Span, Zone, clock_of};

    /// Results of PostgreSQL 15.18.
    #[test]
    fn spans_begin_where_postgresql_begins_them() {
        for (span, time, expected) in [
            ("hour", "2026-01-15T10:37:11.5", "2026-01-15 10:00:00"),
            (
                "milliseconds",
                "2026-01-15T10:37:11.123456",
                "2026-01-15 10:37:11.123",
            ),
            ("DAY", "1969-12-31T23:59:59", "1969-12-31 00:00:00"),
            ("week", "0001-01-03T05:00:00", "0001-01-01 00:00:00"),
            ("month", "9999-12-31T23:59:59.999999", "9999-12-01 00:00:00"),
            ("quarter", "9999-12-31T00:00:00", "9999-10-01 00:00:00"),
            ("year", "0001-06-01T00:00:00", "0001-01-01 00:00:00"),
            ("century", "9999-12-31T00:00:00", "9901-01-01 00:00:00"),
            ("decade", "1999-12-31T00:00:00", "1990-01-01 00:00:00"),
            ("millennium", "2000-12-31T00:00:00", "1001-01-01 00:00:00"),
        ] {
            let time: NaiveDateTime = time.parse().expect(time);
            let begun = Span::read(span)
                .expect(span)
                .begin(time.and_utc().timestamp_micros());
            let begun = clock_of(begun.expect("in range")).expect("in range");
            assert_eq!(begun.to_string(), expected, "{span} {time}");
        }
        assert!(Span::read("fortnight").is_err());
    }

    /// Worked out by hand from the rules of the zones.
    #[test]
    fn a_day_of_a_zone_begins_where_its_clocks_say() {
        for (span, instant, zone, expected) in [
            (
                "day",
                "2026-01-15T23:30:00",
                "Europe/Paris",
                "2026-01-15 23:00:00",
            ),
            (
                "hour",
                "2026-10-25T00:30:00",
                "Europe/Paris",
                "2026-10-25 00:00:00",
            ),
            (
                "hour",
                "2026-10-25T01:30:00",
                "Europe/Paris",
                "2026-10-25 01:00:00",
            ),
            // Midnight was skipped: the day began at 01:00, three hours behind UTC before, two
            // after.
            (
                "day",
                "2018-11-04T12:00:00",
                "America/Sao_Paulo",
                "2018-11-04 03:00:00",
            ),
        ] {
            let parsed: NaiveDateTime = instant.parse().expect(instant);
            let zone = Zone::read(zone).expect(zone);
            let begun = Span::read(span)
                .expect(span)
                .begin_in(parsed.and_utc().timestamp_micros(), zone);
            let begun = clock_of(begun.expect("in range")).expect("in range");
            assert_eq!(begun.to_string(), expected, "{span} {instant}");
        }
    }
}
