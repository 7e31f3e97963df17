//! `AT TIME ZONE`: from an instant to what the clocks of a zone show, and back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, PrimitiveArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::TimeDelta;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::zone::Zone;
use super::{Texts, clock_of, instant, local_time};

/// `timezone(zone, time)`, which `time AT TIME ZONE zone` stands for.
///
/// As in PostgreSQL an instant becomes what the clocks there show, of no zone any more, and a time
/// of no zone becomes the instant at which they show it. DataFusion makes a cast of it instead, to
/// nanoseconds, which refuses local times that clocks show twice or never.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AtTimeZone {
    signature: Signature,
}

impl AtTimeZone {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = arguments else {
            return plan_err!("AT TIME ZONE takes a time and a zone");
        };
        if !zone.is_string() && !zone.is_null() {
            return plan_err!(
                "the zone of AT TIME ZONE is a text such as 'Europe/Paris', and not {zone}"
            );
        }
        let time = match time {
            DataType::Timestamp(_, None) => local_time(),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null => {
                instant()
            }
            text if text.is_string() => instant(),
            other => {
                return plan_err!("AT TIME ZONE takes an instant or a local time, and not {other}");
            }
        };
        Ok(vec![DataType::Utf8, time])
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &arguments[1] {
            DataType::Timestamp(_, None) => instant(),
            _ => local_time(),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let [zone, time] = arguments.args.as_slice() else {
            return plan_err!("AT TIME ZONE takes a time and a zone");
        };
        let is_scalar = matches!(
            (zone, time),
            (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_))
        );
        let times = time.to_array(rows)?;
        let is_local = matches!(times.data_type(), DataType::Timestamp(_, None));
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let mut zones = Zones::of(zone, rows)?;
        let mut moved = Vec::with_capacity(times.len());
        for row in 0..times.len() {
            let zone = if times.is_valid(row) {
                zones.get(row)?
            } else {
                None
            };
            let value = zone.map(|zone| move_to(times.value(row), zone, is_local));
            moved.push(value.transpose()?);
        }
        let moved = PrimitiveArray::<TimestampMicrosecondType>::from(moved);
        let moved = moved.with_data_type(if is_local { instant() } else { local_time() });
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &moved, 0,
            )?));
        }
        Ok(ColumnarValue::Array(Arc::new(moved)))
    }
}

/// From a clock of `zone` to UTC where `is_local`, else the other way.
fn move_to(time_us: i64, zone: Zone, is_local: bool) -> Result<i64> {
    let clock = clock_of(time_us)?;
    let seconds = if is_local {
        -zone.offset_of_local(clock)
    } else {
        zone.offset_at(clock)
    };
    let offset_us = TimeDelta::seconds(i64::from(seconds)).num_microseconds();
    let moved = offset_us.and_then(|offset_us| time_us.checked_add(offset_us));
    moved.ok_or_else(|| exec_datafusion_err!("the time {clock} is out of range in another zone"))
}

/// The zone of each row.
enum Zones {
    Same(Option<Zone>),
    Each {
        names: Texts,
        known: HashMap<String, Zone>,
    },
}

impl Zones {
    fn of(zone: &ColumnarValue, rows: usize) -> Result<Self> {
        if let ColumnarValue::Scalar(name) = zone {
            let name = name.try_as_str().flatten();
            return Ok(Self::Same(name.map(Zone::read).transpose()?));
        }
        let names = Texts::of(&zone.to_array(rows)?);
        let names =
            names.ok_or_else(|| exec_datafusion_err!("the zone of AT TIME ZONE is no text"))?;
        Ok(Self::Each {
            names,
            known: HashMap::new(),
        })
    }

    fn get(&mut self, row: usize) -> Result<Option<Zone>> {
        match self {
            Self::Same(zone) => Ok(*zone),
            Self::Each { names, known } => {
                let Some(name) = names.get(row) else {
                    return Ok(None);
                };
                if let Some(zone) = known.get(name) {
                    return Ok(Some(*zone));
                }
                let zone = Zone::read(name)?;
                known.insert(name.to_owned(), zone);
                Ok(Some(zone))
            }
        }
    }
}
