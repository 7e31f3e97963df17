//! Types of columns as they leave: older drivers do not read what Arrow gained late, so none of that is sent.
//!
//! Announced and streamed columns both go through [`Wire`], so that they are the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

/// The columns of a result as they leave.
#[derive(Clone, Debug)]
pub(crate) struct Wire(SchemaRef);

impl Wire {
    /// For rows that are planned as `schema`.
    pub(crate) fn of(schema: &Schema) -> Self {
        let fields: Fields = schema.fields().iter().map(sendable_field).collect();
        Self(Arc::new(Schema::new(fields)))
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.0
    }

    /// Brings a batch into the types that were announced; mostly it has them already.
    pub(crate) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let pairs = batch.columns().iter().zip(self.0.fields());
        let columns = pairs.map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.0), columns, &rows)
    }
}

fn sendable_field(field: &FieldRef) -> FieldRef {
    let data_type = sendable(field.data_type());
    // What a file says of a column to its own readers is nothing to clients.
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

/// The oldest type that holds the same values.
fn sendable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => sendable(values),
        DataType::RunEndEncoded(_, values) => sendable(values.data_type()),
        DataType::ListView(item) | DataType::List(item) => DataType::List(sendable_field(item)),
        DataType::LargeListView(item) | DataType::LargeList(item) => {
            DataType::LargeList(sendable_field(item))
        }
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(sendable_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(sendable_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(sendable_field(entries), *sorted),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Float16 => DataType::Float32,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _, DictionaryArray, StringViewArray, StructArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn what_old_drivers_cannot_read_is_converted() {
        let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
        let check = |data_type: DataType, expected: DataType| {
            assert_eq!(sendable(&data_type), expected, "{data_type}");
        };
        check(DataType::Int64, DataType::Int64);
        check(DataType::LargeUtf8, DataType::LargeUtf8);
        check(DataType::Utf8View, DataType::Utf8);
        check(DataType::BinaryView, DataType::Binary);
        check(
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View)),
            DataType::Utf8,
        );
        check(
            DataType::ListView(Arc::new(Field::new("item", DataType::Utf8View, true))),
            list(DataType::Utf8),
        );
        check(DataType::Decimal64(9, 2), DataType::Decimal128(9, 2));
    }

    #[test]
    fn a_batch_gets_the_types_that_were_announced() {
        let view: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
        let inner = Field::new("s", DataType::Utf8View, true);
        let nested = StructArray::from(vec![(Arc::new(inner), Arc::clone(&view))]);
        let coded: DictionaryArray<Int32Type> = vec![Some("x"), Some("y")].into_iter().collect();
        let batch = RecordBatch::try_from_iter([
            ("view", view),
            ("nested", Arc::new(nested) as ArrayRef),
            ("coded", Arc::new(coded) as ArrayRef),
        ])
        .expect("a batch");
        let wire = Wire::of(&batch.schema());
        let sent = wire.convert(&batch).expect("it can be converted");
        assert_eq!(sent.schema_ref(), wire.schema());
        assert_eq!(sent.column(0).as_string::<i32>().value(0), "a");
        assert!(sent.column(0).is_null(1));
        assert_eq!(sent.column(2).as_string::<i32>().value(1), "y");
    }
}
