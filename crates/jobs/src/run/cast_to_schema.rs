//! Casts the rows of a query to the types of its outputs, and checks them before they are
//! published.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use lake::PartitionKey;

use crate::error::Error;
use crate::outputs::HbaseOutput;
use crate::outputs::hbase::{KeyFault, check_keys};
use crate::query::QueryFile;

/// Refuses rows whose keys in HBase are null or not unique.
pub(crate) fn check_row_keys(
    query: &QueryFile,
    output: &HbaseOutput,
    key: &PartitionKey,
    batches: &[RecordBatch],
) -> Result<(), Error> {
    let fault = check_keys(batches, &output.row_key);
    let fault = fault.map_err(|source| query.encode_failed(source))?;
    let (query, partition) = (query.name.to_string(), key.first().to_owned());
    match fault {
        None => Ok(()),
        Some(KeyFault::Null(column)) => Err(Error::RowKeyNull {
            query,
            partition,
            column,
        }),
        Some(KeyFault::Taken(key)) => Err(Error::RowKeyTaken {
            query,
            partition,
            key,
        }),
    }
}

/// Whether every output can store values of this type without loss.
pub(crate) fn is_scalar(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
            | DataType::Utf8
            | DataType::Binary
            | DataType::Date32
            | DataType::Timestamp(..)
    )
}

/// Casts `column` to `data_type`.
///
/// NaN and the infinities become null in every output: JSON has no numbers for them, and a NaN in a
/// data file would lie outside the range that the statistics of the file give.
fn cast_column(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        // A value that does not fit the type is an error; the default would make it null.
        safe: false,
        ..CastOptions::default()
    };
    let column = cast_with_options(column, data_type, &options)?;
    Ok(match data_type {
        DataType::Float64 => {
            let finite = |value: f64| value.is_finite().then_some(value);
            let values = column.as_primitive::<Float64Type>();
            Arc::new(values.unary_opt::<_, Float64Type>(finite))
        }
        DataType::Float32 => {
            let finite = |value: f32| value.is_finite().then_some(value);
            let values = column.as_primitive::<Float32Type>();
            Arc::new(values.unary_opt::<_, Float32Type>(finite))
        }
        _ => column,
    })
}

/// Casts `batches` to `schema`, and checks the columns that the header declares not null.
pub(crate) fn cast_to_schema(
    query: &QueryFile,
    schema: &SchemaRef,
    key: &PartitionKey,
    batches: Vec<RecordBatch>,
) -> Result<Vec<RecordBatch>, Error> {
    let mut cast = Vec::with_capacity(batches.len());
    for batch in batches {
        let batch = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| cast_column(column, field.data_type()))
            .collect::<Result<_, _>>()
            .and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns))
            .map_err(|source| query.encode_failed(source))?;
        for column in &query.header.check.not_null {
            let nulls = batch
                .column_by_name(column)
                .map_or(0, |values| values.null_count());
            if nulls > 0 {
                return Err(Error::CheckFailed {
                    query: query.name.to_string(),
                    partition: key.first().to_owned(),
                    column: column.clone(),
                    nulls,
                });
            }
        }
        cast.push(batch);
    }
    Ok(cast)
}
