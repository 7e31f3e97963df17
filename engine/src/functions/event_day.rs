//! The calendar day of an instant.

use std::sync::Arc;

use arrow::array::{AsArray as _, Date32Builder};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, TimeZone as _};
use chrono_tz::Tz;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// `event_day(instant)`: the calendar day of an instant in the configured zone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct EventDay {
    signature: Signature,
    zone: Tz,
}

impl EventDay {
    pub(super) fn new(zone: Tz) -> Self {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Self {
            signature: Signature::exact(vec![instant], Volatility::Immutable),
            zone,
        }
    }
}

impl ScalarUDFImpl for EventDay {
    fn name(&self) -> &str {
        "event_day"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let instants = ColumnarValue::values_to_arrays(&arguments.args)?;
        let instants = instants[0].as_primitive::<TimestampMicrosecondType>();
        let mut days = Date32Builder::with_capacity(instants.len());
        let mut known = Day::default();
        for instant in instants {
            let day = instant
                .map(|instant| known.of(instant, self.zone))
                .transpose()?;
            days.append_option(day);
        }
        Ok(ColumnarValue::Array(Arc::new(days.finish())))
    }
}

/// The day found last, with the instants it lasts from and to: most rows are of the same day.
#[derive(Default)]
struct Day {
    from_us: i64,
    until_us: i64,
    days: i32,
}

impl Day {
    fn of(&mut self, instant_us: i64, zone: Tz) -> Result<i32> {
        if !(self.from_us..self.until_us).contains(&instant_us) {
            let date = event_day(instant_us, zone)
                .ok_or_else(|| exec_datafusion_err!("instant {instant_us} us is out of range"))?;
            let midnight = |date: NaiveDate| {
                let local = date.and_hms_opt(0, 0, 0)?;
                Some(
                    zone.from_local_datetime(&local)
                        .earliest()?
                        .timestamp_micros(),
                )
            };
            // A zone may skip midnight itself; then nothing is remembered but this instant.
            self.from_us = midnight(date).unwrap_or(instant_us);
            self.until_us = date.succ_opt().and_then(midnight).unwrap_or(instant_us + 1);
            self.days = date.to_epoch_days();
        }
        Ok(self.days)
    }
}

/// The calendar day in `zone` of an instant in microseconds since the epoch.
pub fn event_day(instant_us: i64, zone: Tz) -> Option<NaiveDate> {
    let instant = DateTime::from_timestamp_micros(instant_us)?;
    Some(instant.with_timezone(&zone).date_naive())
}
