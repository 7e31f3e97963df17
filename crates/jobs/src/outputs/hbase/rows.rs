//! Converts Arrow rows to HBase rows.

use std::collections::HashSet;

use arrow::array::Array as _;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use engine::output::text::Texts;

/// Separates the parts of a row key.
const SEPARATOR: &str = "#";

/// An HBase row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The row key.
    pub(crate) key: String,
    /// Column names and values as text; nulls are left out.
    pub(crate) cells: Vec<(String, String)>,
}

/// Why a row key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// A row has null in this column of the key.
    Null(String),
    /// Two rows have this key.
    Taken(String),
}

/// The rows of `batches`, with the values of the columns `row_key` as keys.
pub(crate) fn rows(batches: &[RecordBatch], row_key: &[String]) -> Result<Vec<Row>, ArrowError> {
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let texts = texts(batch)?;
        let keys: Vec<usize> = row_key
            .iter()
            .map(|column| schema.index_of(column))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let part = |column: &usize| texts[*column].text(row);
            let key: Vec<String> = keys.iter().map(part).collect::<Result<_, _>>()?;
            let columns = schema.fields().iter().enumerate();
            let cells = columns
                .filter(|(column, _)| batch.column(*column).is_valid(row))
                .map(|(column, field)| Ok((field.name().clone(), part(&column)?)))
                .collect::<Result<_, ArrowError>>()?;
            rows.push(Row {
                key: key.join(SEPARATOR),
                cells,
            });
        }
    }
    Ok(rows)
}

/// The first null or duplicate row key in `batches`, if there is one.
pub(crate) fn check_keys(
    batches: &[RecordBatch],
    row_key: &[String],
) -> Result<Option<KeyFault>, ArrowError> {
    for batch in batches {
        let null = row_key.iter().find(|column| {
            batch
                .column_by_name(column)
                .is_some_and(|values| values.null_count() > 0)
        });
        if let Some(column) = null {
            return Ok(Some(KeyFault::Null(column.clone())));
        }
    }
    let mut seen = HashSet::new();
    for row in rows(batches, row_key)? {
        if let Some(taken) = seen.replace(row.key) {
            return Ok(Some(KeyFault::Taken(taken)));
        }
    }
    Ok(None)
}

fn texts(batch: &RecordBatch) -> Result<Vec<Texts<'_>>, ArrowError> {
    let columns = batch.columns().iter();
    columns.map(|column| Texts::of(column)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    };

    use super::{KeyFault, check_keys, rows};

    fn batch(ids: Vec<Option<i64>>) -> RecordBatch {
        let n = ids.len();
        let columns: [(&str, ArrayRef); 6] = [
            ("city_id", Arc::new(Int64Array::from(ids))),
            ("dt", Arc::new(Date32Array::from(vec![20_468; n]))),
            ("city", Arc::new(StringArray::from(vec![Some("Zürich"); n]))),
            ("temp", Arc::new(Float64Array::from(vec![None; n]))),
            ("wet", Arc::new(BooleanArray::from(vec![true; n]))),
            (
                "at",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![1_768_435_200_500_000; n])
                        .with_timezone("UTC"),
                ),
            ),
        ];
        RecordBatch::try_from_iter(columns).expect("a batch")
    }

    fn key() -> Vec<String> {
        vec!["city_id".to_owned(), "dt".to_owned()]
    }

    #[test]
    fn a_row_is_a_key_and_a_cell_for_each_value() {
        let found = rows(&[batch(vec![Some(7)])], &key()).expect("rows");
        let cells: Vec<_> = found[0]
            .cells
            .iter()
            .map(|(column, value)| format!("{column}={value}"))
            .collect();
        assert_eq!(found[0].key, "7#2026-01-15");
        assert_eq!(
            cells.join(" "),
            "city_id=7 dt=2026-01-15 city=Zürich wet=true at=2026-01-15T00:00:00.500Z"
        );
    }

    #[test]
    fn null_or_duplicate_row_keys_are_found() {
        let check = |batches: &[RecordBatch]| check_keys(batches, &key()).expect("checked");
        assert_eq!(check(&[batch(vec![Some(1), Some(2)])]), None);
        let twice = [batch(vec![Some(1)]), batch(vec![Some(1)])];
        assert_eq!(
            check(&twice),
            Some(KeyFault::Taken("1#2026-01-15".to_owned()))
        );
        assert_eq!(
            check(&[batch(vec![Some(1), None])]),
            Some(KeyFault::Null("city_id".to_owned()))
        );
    }
}
