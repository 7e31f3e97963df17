//! The arguments of a run: values for the parameters of its query.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::DataType;
use chrono::NaiveDate;
use datafusion::common::{ParamValues, ScalarValue};

use super::file::{ParameterType, QueryFile};
use crate::error::Error;

/// The values of `arguments`, parsed by the types that the query declares.
pub(crate) fn parameters(
    query: &QueryFile,
    arguments: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, ScalarValue>, Error> {
    let declared = &query.header.params;
    for name in arguments.keys() {
        if !declared.contains_key(name) {
            let known: Vec<_> = declared.keys().map(String::as_str).collect();
            return Err(Error::UnknownParameter {
                query: query.name.to_string(),
                name: name.clone(),
                known: known.join(", "),
            });
        }
    }
    let partition = query.header.partition.as_ref();
    let mut values = BTreeMap::new();
    for (name, kind) in declared {
        match arguments.get(name) {
            // The selected partitions would silently override it.
            Some(_) if partition == Some(name) => {
                return Err(Error::PartitionParameter {
                    query: query.name.to_string(),
                    name: name.clone(),
                });
            }
            Some(text) => {
                values.insert(name.clone(), parse_parameter(name, *kind, text)?);
            }
            None if partition == Some(name) => {}
            None => {
                return Err(Error::MissingParameter {
                    query: query.name.to_string(),
                    name: name.clone(),
                });
            }
        }
    }
    Ok(values)
}

/// A parameter's value from its text.
fn parse_parameter(name: &str, kind: ParameterType, text: &str) -> Result<ScalarValue, Error> {
    let invalid = |expected| Error::ParameterValue {
        name: name.to_owned(),
        value: text.to_owned(),
        expected,
    };
    match kind {
        ParameterType::Date => {
            parse_date(name, text).map(|date| ScalarValue::Date32(Some(date.to_epoch_days())))
        }
        ParameterType::Text => Ok(ScalarValue::from(text)),
        kind => ScalarValue::try_from_string(text.to_owned(), &data_type(kind)).map_err(|_| {
            invalid(match kind {
                ParameterType::Bigint => "a whole number such as 42",
                ParameterType::Double => "a number such as 1.5",
                ParameterType::Boolean => "true or false",
                _ => "an instant such as 2026-01-15T10:00:00Z",
            })
        }),
    }
}

/// Parses a calendar day such as `2026-01-15`, as in arguments and directory names.
///
/// # Errors
/// When `text` is no existing day; the error names `name`, the argument that it was given for.
pub fn parse_date(name: &str, text: &str) -> Result<NaiveDate, Error> {
    let date = (text.len() == "2026-01-15".len())
        .then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
        .flatten();
    date.ok_or_else(|| Error::ParameterValue {
        name: name.to_owned(),
        value: text.to_owned(),
        expected: "a day that exists, such as 2026-01-15",
    })
}

/// The Arrow type of a parameter's value.
pub(crate) fn data_type(kind: ParameterType) -> DataType {
    match kind {
        ParameterType::Date => DataType::Date32,
        ParameterType::Timestamp => {
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))
        }
        ParameterType::Bigint => DataType::Int64,
        ParameterType::Double => DataType::Float64,
        ParameterType::Text => DataType::Utf8,
        ParameterType::Boolean => DataType::Boolean,
    }
}

/// Every parameter of the query with its value.
pub(crate) fn bind(
    query: &QueryFile,
    partition: Option<&ScalarValue>,
    arguments: &BTreeMap<String, ScalarValue>,
) -> ParamValues {
    let mut values: HashMap<String, ScalarValue> = arguments
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let (Some(column), Some(value)) = (&query.header.partition, partition) {
        values.insert(column.clone(), value.clone());
    }
    ParamValues::from(values)
}
