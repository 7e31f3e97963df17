//! Instants and days out of texts and numbers: `to_timestamp`, its relatives of other units, and
//! `to_date`.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Date32Array, Int64Array, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use chrono::NaiveDateTime;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::functions::datetime::{
    to_timestamp_micros, to_timestamp_millis, to_timestamp_nanos, to_timestamp_seconds,
};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::pattern::Pattern;
use super::{Texts, with_seconds};

/// `to_timestamp` and those that are named after a unit.
///
/// With a zone in the session DataFusion's declare one type for a column of texts and return
/// another; `to_timestamp` has nanoseconds, and patterns are strftime's alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestamp {
    name: &'static str,
    unit: TimeUnit,
    signature: Signature,
    /// For what is no text; `to_timestamp` itself counts seconds.
    of_numbers: Option<Arc<ScalarUDF>>,
}

pub(super) fn all() -> Vec<ScalarUDF> {
    let config = ConfigOptions::default();
    let make = |name, unit, of_numbers| {
        ScalarUDF::from(ToTimestamp {
            name,
            unit,
            signature: Signature::variadic_any(Volatility::Immutable),
            of_numbers,
        })
    };
    vec![
        make("to_timestamp", TimeUnit::Microsecond, None),
        make(
            "to_timestamp_seconds",
            TimeUnit::Second,
            Some(to_timestamp_seconds(&config)),
        ),
        make(
            "to_timestamp_millis",
            TimeUnit::Millisecond,
            Some(to_timestamp_millis(&config)),
        ),
        make(
            "to_timestamp_micros",
            TimeUnit::Microsecond,
            Some(to_timestamp_micros(&config)),
        ),
        make(
            "to_timestamp_nanos",
            TimeUnit::Nanosecond,
            Some(to_timestamp_nanos(&config)),
        ),
    ]
}

impl ToTimestamp {
    fn output(&self) -> DataType {
        DataType::Timestamp(self.unit, Some("UTC".into()))
    }
}

impl ScalarUDFImpl for ToTimestamp {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.output())
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(first) = arguments.args.first() else {
            return plan_err!("{} takes a text or a number", self.name);
        };
        if !first.data_type().is_string() {
            if arguments.args.len() > 1 {
                return plan_err!(
                    "{} takes a pattern for a text alone, and not for {}",
                    self.name,
                    first.data_type()
                );
            }
            if let Some(of_numbers) = &self.of_numbers {
                arguments.return_field = Arc::new(
                    arguments
                        .return_field
                        .as_ref()
                        .clone()
                        .with_data_type(DataType::Timestamp(self.unit, None)),
                );
                return stamped(&of_numbers.invoke_with_args(arguments)?, self.unit);
            }
            return on_rows(&arguments, |arguments, _| seconds(&arguments[0]));
        }
        let (name, unit) = (self.name, self.unit);
        let made = on_rows(&arguments, |arguments, rows| {
            let values = read_texts(name, arguments, rows, |time| in_unit(time, unit))?;
            Ok(Arc::new(Int64Array::from(values)))
        })?;
        stamped(&made, unit)
    }
}

/// Instants of the numbers that `value` consists of. A cast would ask for the offset of UTC row by
/// row.
fn stamped(value: &ColumnarValue, unit: TimeUnit) -> Result<ColumnarValue> {
    let numbers = value.to_array(1)?;
    let numbers = cast(&numbers, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    let made: ArrayRef = match unit {
        TimeUnit::Second => Arc::new(
            numbers
                .reinterpret_cast::<TimestampSecondType>()
                .with_timezone("UTC"),
        ),
        TimeUnit::Millisecond => Arc::new(
            numbers
                .reinterpret_cast::<TimestampMillisecondType>()
                .with_timezone("UTC"),
        ),
        TimeUnit::Microsecond => Arc::new(
            numbers
                .reinterpret_cast::<TimestampMicrosecondType>()
                .with_timezone("UTC"),
        ),
        TimeUnit::Nanosecond => Arc::new(
            numbers
                .reinterpret_cast::<TimestampNanosecondType>()
                .with_timezone("UTC"),
        ),
    };
    Ok(match value {
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
        ColumnarValue::Array(_) => ColumnarValue::Array(made),
    })
}

/// `to_date(text [, pattern…])`; numbers are days since 1970.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ToDate {
    signature: Signature,
    of_numbers: Arc<ScalarUDF>,
}

impl ToDate {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
            of_numbers: datafusion::functions::datetime::to_date(),
        }
    }
}

impl ScalarUDFImpl for ToDate {
    fn name(&self) -> &str {
        "to_date"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_text = arguments
            .args
            .first()
            .is_some_and(|first| first.data_type().is_string());
        if !is_text || arguments.args.len() == 1 {
            return self.of_numbers.invoke_with_args(arguments);
        }
        on_rows(&arguments, |arguments, rows| {
            let days = read_texts("to_date", arguments, rows, |time| {
                Some(time.date().to_epoch_days())
            })?;
            Ok(Arc::new(Date32Array::from(days)))
        })
    }
}

/// Runs `compute` on arrays, and gives one value back where all arguments are one.
fn on_rows(
    arguments: &ScalarFunctionArgs,
    compute: impl FnOnce(&[ArrayRef], usize) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let is_scalar = arguments
        .args
        .iter()
        .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    let rows = if is_scalar { 1 } else { arguments.number_rows };
    let arrays = arguments
        .args
        .iter()
        .map(|argument| argument.to_array(rows));
    let made = compute(&arrays.collect::<Result<Vec<_>>>()?, rows)?;
    if is_scalar {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
            &made, 0,
        )?));
    }
    Ok(ColumnarValue::Array(made))
}

/// Each text by the first of its patterns that reads it, or as ISO 8601 has it where there is none.
fn read_texts<T>(
    name: &str,
    arguments: &[ArrayRef],
    rows: usize,
    convert: impl Fn(NaiveDateTime) -> Option<T>,
) -> Result<Vec<Option<T>>> {
    let mut columns = Vec::with_capacity(arguments.len());
    for argument in arguments {
        if argument.data_type().is_null() {
            return Ok((0..rows).map(|_| None).collect());
        }
        let Some(texts) = Texts::of(argument) else {
            return exec_err!(
                "{name}: patterns are texts, and not {}",
                argument.data_type()
            );
        };
        columns.push(texts);
    }
    let mut patterns = vec![Known::default(); columns.len()];
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        let Some(text) = columns[0].get(row) else {
            values.push(None);
            continue;
        };
        let time = if columns.len() == 1 {
            Some(read_iso(text)?)
        } else {
            read_by_patterns(name, text, &columns[1..], &mut patterns, row)?
        };
        let value = time.map(|time| {
            convert(time).ok_or_else(|| exec_datafusion_err!("{name}: \"{text}\" is out of range"))
        });
        values.push(value.transpose()?);
    }
    Ok(values)
}

/// The pattern read last: most rows have the same.
#[derive(Clone, Debug, Default)]
struct Known(Option<(String, Arc<Pattern>)>);

impl Known {
    fn read(&mut self, name: &str, text: &str) -> Result<Arc<Pattern>> {
        if let Some((known, pattern)) = &self.0
            && known == text
        {
            return Ok(Arc::clone(pattern));
        }
        let pattern = Arc::new(Pattern::read(name, text)?);
        self.0 = Some((text.to_owned(), Arc::clone(&pattern)));
        Ok(pattern)
    }
}

fn read_by_patterns(
    name: &str,
    text: &str,
    columns: &[Texts],
    known: &mut [Known],
    row: usize,
) -> Result<Option<NaiveDateTime>> {
    let mut failed = None;
    for (column, known) in columns.iter().zip(known) {
        let Some(pattern) = column.get(row) else {
            continue;
        };
        match known.read(name, pattern)?.parse(text) {
            Ok(time) => return Ok(Some(time)),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), |error| Err(error.context(name.to_owned())))
}

fn read_iso(text: &str) -> Result<NaiveDateTime> {
    let utc: Tz = "UTC".parse()?;
    let completed = with_seconds(text);
    let text = completed.as_deref().unwrap_or(text);
    Ok(string_to_datetime(&utc, text)?.naive_utc())
}

fn in_unit(time: NaiveDateTime, unit: TimeUnit) -> Option<i64> {
    let time = time.and_utc();
    match unit {
        TimeUnit::Second => Some(time.timestamp()),
        TimeUnit::Millisecond => Some(time.timestamp_millis()),
        TimeUnit::Microsecond => Some(time.timestamp_micros()),
        TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
    }
}

/// Instants out of seconds since 1970, whole or not.
fn seconds(values: &ArrayRef) -> Result<ArrayRef> {
    let out_of_range = |value: &dyn std::fmt::Display| {
        exec_datafusion_err!("to_timestamp: {value} seconds since 1970 are out of range")
    };
    let data_type = values.data_type();
    let micros: TimestampMicrosecondArray = match data_type {
        DataType::Null | DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            return Ok(cast(values, &super::instant())?);
        }
        integer if integer.is_integer() => {
            let values = cast(values, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            values.try_unary(|value| {
                value
                    .checked_mul(1_000_000)
                    .ok_or_else(|| out_of_range(&value))
            })?
        }
        float if float.is_floating() => {
            let values = cast(values, &DataType::Float64)?;
            values.as_primitive::<Float64Type>().try_unary(|value| {
                let micros = (value * 1e6).round();
                // 2^63 is the first double that is too large.
                if micros.is_finite() && micros.abs() < 9.223_372_036_854_775e18 {
                    #[expect(clippy::cast_possible_truncation, reason = "it was just looked at")]
                    Ok(micros as i64)
                } else {
                    Err(out_of_range(&value))
                }
            })?
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => {
            let values = cast(values, &DataType::Decimal128(38, 6))?;
            values
                .as_primitive::<Decimal128Type>()
                .try_unary(|value| i64::try_from(value).map_err(|_| out_of_range(&value)))?
        }
        other => return plan_err!("to_timestamp takes a text or a number, and not {other}"),
    };
    Ok(Arc::new(micros.with_timezone("UTC")))
}
