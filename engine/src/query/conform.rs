//! Rows as every output takes them: in the output's types, checked as the header asks.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::file::QueryFile;
use crate::error::Error;
use crate::lake::PartitionKey;
use crate::output::hbase::{KeyFault, check_keys};

/// Refuses rows that their keys in HBase do not tell apart.
pub(super) fn refuse_keyless(
    query: &QueryFile,
    key: &PartitionKey,
    batches: &[RecordBatch],
) -> Result<(), Error> {
    let Some(output) = &query.header.output.hbase else {
        return Ok(());
    };
    let fault = check_keys(batches, &output.row_key).map_err(|source| Error::Encode {
        query: query.name.to_string(),
        source: source.into(),
    })?;
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

/// Whether every output can hold values of this type, and holds the same.
pub(super) fn is_scalar(data_type: &DataType) -> bool {
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

/// `column` as values of `data_type`. What JSON has no number for, NaN and the infinities, is null in every
/// output; a NaN in a data file would also lie outside the range that the file's statistics give.
fn conform_column(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let refusing = CastOptions {
        // A value that the type does not hold is an error, where the default makes it null.
        safe: false,
        ..CastOptions::default()
    };
    let column = cast_with_options(column, data_type, &refusing)?;
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

/// The rows in the output's types, checked as the header asks.
pub(super) fn conform(
    query: &QueryFile,
    schema: &SchemaRef,
    key: &PartitionKey,
    batches: Vec<RecordBatch>,
) -> Result<Vec<RecordBatch>, Error> {
    let mut conformed = Vec::with_capacity(batches.len());
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| conform_column(column, field.data_type()))
            .collect::<Result<_, _>>()
            .and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns))
            .map_err(|source| Error::Encode {
                query: query.name.to_string(),
                source: source.into(),
            })?;
        for column in &query.header.check.not_null {
            let nulls = columns
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
        conformed.push(columns);
    }
    Ok(conformed)
}
