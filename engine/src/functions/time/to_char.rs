//! `to_char`: a time as a text, by a pattern.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringBuilder};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::TimeDelta;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::pattern::{ClockTime, Pattern};
use super::zone::Zone;
use super::{Texts, clock_of, in_micros, instant};

/// `to_char(time, pattern)`. DataFusion's knows strftime's patterns alone, and prints one of
/// PostgreSQL as it stands: `to_char(event_time, 'YYYY-MM-DD')` is the text `YYYY-MM-DD`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ToChar {
    signature: Signature,
    aliases: Vec<String>,
    /// For times of day and durations.
    of_others: Arc<ScalarUDF>,
}

impl ToChar {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            aliases: vec!["date_format".to_owned()],
            of_others: datafusion::functions::datetime::to_char(),
        }
    }
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [time, pattern] = arguments else {
            return plan_err!("to_char takes a time and a pattern");
        };
        if !pattern.is_string() && !pattern.is_null() {
            return plan_err!(
                "the pattern of to_char is a text such as 'YYYY-MM-DD', and not {pattern}"
            );
        }
        let time = match time {
            DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) => time.clone(),
            text if text.is_string() => instant(),
            other => match in_micros(other) {
                Some(time) => time,
                None => {
                    return plan_err!("to_char takes an instant, a day or a time, and not {other}");
                }
            },
        };
        Ok(vec![time, DataType::Utf8])
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, patterns] = arguments.args.as_slice() else {
            return plan_err!("to_char takes a time and a pattern");
        };
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = time.data_type() else {
            refuse_templates(&time.data_type(), patterns)?;
            return self.of_others.invoke_with_args(arguments);
        };
        let zone = zone.map(|zone| Zone::read(&zone)).transpose()?;
        let is_scalar = matches!(
            (time, patterns),
            (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_))
        );
        let rows = if is_scalar { 1 } else { arguments.number_rows };
        let times = time.to_array(rows)?;
        let printed = match patterns {
            ColumnarValue::Scalar(pattern) => match pattern.try_as_str().flatten() {
                Some(pattern) => print_all(&times, zone, &Pattern::read("to_char", pattern)?)?,
                None => print_each(&times, zone, &patterns.to_array(rows)?)?,
            },
            ColumnarValue::Array(patterns) => print_each(&times, zone, patterns)?,
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &printed, 0,
            )?));
        }
        Ok(ColumnarValue::Array(printed))
    }
}

/// DataFusion prints a duration in its own way whatever the pattern, and a time of day by
/// strftime's patterns.
fn refuse_templates(data_type: &DataType, patterns: &ColumnarValue) -> Result<()> {
    let ColumnarValue::Scalar(pattern) = patterns else {
        return Ok(());
    };
    let Some(pattern) = pattern.try_as_str().flatten() else {
        return Ok(());
    };
    match data_type {
        DataType::Duration(_)
            if !["iso8601", "pretty"].contains(&pattern.to_ascii_lowercase().as_str()) =>
        {
            exec_err!(
                "to_char: a duration has no pattern \"{pattern}\"; write 'ISO8601' or 'pretty', or compute with date_part('epoch', …)"
            )
        }
        DataType::Time32(_) | DataType::Time64(_) if !pattern.contains('%') => exec_err!(
            "to_char: a time of day is printed by a pattern of strftime such as '%H:%M', and not by \"{pattern}\""
        ),
        _ => Ok(()),
    }
}

fn clock(time_us: i64, zone: Option<Zone>) -> Result<ClockTime> {
    let utc = clock_of(time_us)?;
    let offset_s = zone.map_or(0, |zone| zone.offset_at(utc));
    let local = utc.checked_add_signed(TimeDelta::seconds(i64::from(offset_s)));
    let local =
        local.ok_or_else(|| exec_datafusion_err!("to_char: {utc} is out of range in its zone"))?;
    Ok(ClockTime {
        local,
        zone,
        offset_s,
    })
}

fn print_all(times: &ArrayRef, zone: Option<Zone>, pattern: &Pattern) -> Result<ArrayRef> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut builder = StringBuilder::with_capacity(times.len(), times.len() * 20);
    let mut text = String::new();
    for time in times {
        let Some(time) = time else {
            builder.append_null();
            continue;
        };
        text.clear();
        pattern.print(clock(time, zone)?, &mut text)?;
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

fn print_each(times: &ArrayRef, zone: Option<Zone>, patterns: &ArrayRef) -> Result<ArrayRef> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let texts = Texts::of(patterns);
    let mut builder = StringBuilder::new();
    let mut text = String::new();
    for row in 0..times.len() {
        let pattern = texts.as_ref().and_then(|texts| texts.get(row));
        let (Some(pattern), true) = (pattern, times.is_valid(row)) else {
            builder.append_null();
            continue;
        };
        text.clear();
        let pattern = Pattern::read("to_char", pattern)?;
        pattern.print(clock(times.value(row), zone)?, &mut text)?;
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}
