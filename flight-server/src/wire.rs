//! Types of columns as they are sent: older drivers do not read what Arrow gained late, so none of that is sent.
//!
//! Announced and streamed columns both go through [`Wire`], so that they are the same. Rows are brought into the
//! announced types only where every value stays what it is: another encoding of the same values (views, dictionaries,
//! run ends, list views), another zone of the same instants, or a wider form of the same number. Any other difference
//! is a fault of the planner and ends the statement, because a cast would change values silently.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, FixedSizeListArray, GenericListArray, MapArray,
    OffsetSizeTrait, RecordBatch, RecordBatchOptions, StructArray, make_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

/// The columns of a result as they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Wire(SchemaRef);

impl Wire {
    /// For rows that are planned as `schema`.
    ///
    /// Every column may be null. What the planner says of nulls depends on statistics and on bound values, and so
    /// would differ between the announcements of one statement.
    pub(crate) fn of(schema: &Schema) -> Self {
        let fields: Fields = schema.fields().iter().map(sendable_field).collect();
        Self(Arc::new(Schema::new(fields)))
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.0
    }

    /// Brings a batch into the types that were announced; mostly it has them already.
    ///
    /// # Errors
    /// When a column has another type than announced, or another number of columns is there.
    pub(crate) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.num_columns() != self.0.fields().len() {
            return Err(ArrowError::SchemaError(format!(
                "{} columns were announced and {} were made",
                self.0.fields().len(),
                batch.num_columns()
            )));
        }
        let pairs = batch.columns().iter().zip(self.0.fields());
        let columns = pairs.map(|(column, field)| {
            as_announced(column, field.data_type()).map_err(|difference| {
                let name = field.name();
                ArrowError::SchemaError(format!("column \"{name}\": {difference}"))
            })
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.0), columns, &rows)
    }
}

/// `array` without views, dictionaries and run ends.
pub(crate) fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    as_announced(array, &sendable(array.data_type()))
}

fn sendable_field(field: &FieldRef) -> FieldRef {
    // Metadata of a file's columns is for the readers of the file.
    Arc::new(Field::new(field.name(), sendable(field.data_type()), true))
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
        DataType::Map(entries, sorted) => DataType::Map(sendable_entries(entries), *sorted),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Float16 => DataType::Float32,
        // JDBC reads an instant of another zone as one that is hours off (apache/arrow-java#732).
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
        other => other.clone(),
    }
}

/// The entries of a map and their keys are never null, by the definition of the type.
fn sendable_entries(entries: &FieldRef) -> FieldRef {
    let data_type = match entries.data_type() {
        DataType::Struct(fields) => {
            let sent = fields.iter().enumerate().map(|(position, field)| {
                let sent = sendable_field(field).as_ref().clone();
                sent.with_nullable(position > 0)
            });
            DataType::Struct(sent.collect())
        }
        other => sendable(other),
    };
    Arc::new(Field::new(entries.name(), data_type, false))
}

/// `array` as `announced`, where that changes no value.
fn as_announced(array: &ArrayRef, announced: &DataType) -> Result<ArrayRef, ArrowError> {
    let made = array.data_type();
    if made == announced {
        return Ok(Arc::clone(array));
    }
    match (made, announced) {
        (DataType::Utf8View, DataType::Utf8)
        | (DataType::BinaryView, DataType::Binary)
        | (DataType::Float16, DataType::Float32) => cast(array, announced),
        (
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale),
            DataType::Decimal128(wider, same),
        ) if precision == wider && scale == same => cast(array, announced),
        // The values of an instant are those of UTC, whatever its zone; the zone is how it is shown.
        (DataType::Timestamp(unit, Some(_)), DataType::Timestamp(same, Some(_)))
            if unit == same =>
        {
            let data = array.to_data().into_builder().data_type(announced.clone());
            Ok(make_array(data.build()?))
        }
        (DataType::Dictionary(_, values), _) => as_announced(&cast(array, values)?, announced),
        (DataType::RunEndEncoded(_, values), _) => {
            as_announced(&cast(array, values.data_type())?, announced)
        }
        (DataType::ListView(item), DataType::List(_)) => {
            let list = cast(array, &DataType::List(Arc::clone(item)))?;
            as_announced(&list, announced)
        }
        (DataType::LargeListView(item), DataType::LargeList(_)) => {
            let list = cast(array, &DataType::LargeList(Arc::clone(item)))?;
            as_announced(&list, announced)
        }
        (DataType::List(_), DataType::List(item)) => list_as::<i32>(array, item),
        (DataType::LargeList(_), DataType::LargeList(item)) => list_as::<i64>(array, item),
        (DataType::FixedSizeList(_, made), DataType::FixedSizeList(item, size)) if made == size => {
            let list = array.as_fixed_size_list();
            let values = as_announced(list.values(), item.data_type())?;
            let nulls = list.nulls().cloned();
            let item = Arc::clone(item);
            let list =
                FixedSizeListArray::try_new_with_length(item, *size, values, nulls, list.len())?;
            Ok(Arc::new(list))
        }
        (DataType::Struct(made), DataType::Struct(fields)) if same_names(made, fields) => {
            Ok(Arc::new(struct_as(array.as_struct(), fields)?))
        }
        (DataType::Map(_, made), DataType::Map(entries, sorted)) if made == sorted => {
            map_as(array.as_map(), entries, *sorted)
        }
        (made, announced) => Err(ArrowError::SchemaError(format!(
            "announced as {announced}, made as {made}"
        ))),
    }
}

fn same_names(made: &Fields, announced: &Fields) -> bool {
    let names = |fields: &Fields| {
        fields
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>()
    };
    names(made) == names(announced)
}

fn list_as<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let values = as_announced(list.values(), item.data_type())?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    let list = GenericListArray::<O>::try_new(Arc::clone(item), offsets, values, nulls)?;
    Ok(Arc::new(list))
}

fn struct_as(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let pairs = array.columns().iter().zip(fields);
    let columns = pairs.map(|(column, field)| as_announced(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = array.nulls().cloned();
    StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())
}

fn map_as(array: &MapArray, entries: &FieldRef, sorted: bool) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(ArrowError::SchemaError(
            "the entries of a map are no struct".to_owned(),
        ));
    };
    let sent = struct_as(array.entries(), fields)?;
    let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
    let map = MapArray::try_new(Arc::clone(entries), offsets, sent, nulls, sorted)?;
    Ok(Arc::new(map))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryViewArray, Decimal64Array, DictionaryArray, Float64Array, Int64Array, ListBuilder,
        ListViewArray, RunArray, StringArray, StringViewArray, StringViewBuilder,
        TimestampMicrosecondArray,
    };
    use arrow::buffer::ScalarBuffer;
    use arrow::compute::concat;
    use arrow::datatypes::{Int8Type, Int32Type};

    use super::*;

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", item, true)))
    }

    #[test]
    fn what_old_drivers_cannot_read_is_converted() {
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
            DataType::ListView(Arc::new(Field::new("item", DataType::Utf8View, false))),
            list(DataType::Utf8),
        );
        check(DataType::Decimal64(9, 2), DataType::Decimal128(9, 2));
    }

    #[test]
    fn another_encoding_of_the_same_values_is_sent_as_announced() {
        let check = |made: ArrayRef, expected: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("c", made)]).expect("a batch");
            let wire = Wire::of(&batch.schema());
            let sent = wire.convert(&batch).expect("it can be converted");
            assert_eq!(sent.schema_ref(), wire.schema());
            assert_eq!(sent.column(0), &expected, "{}", batch.schema());
        };
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("a")]));
        let view = StringViewArray::from(vec![Some("a"), None, Some("a")]);
        check(Arc::new(view), Arc::clone(&plain));
        let coded: DictionaryArray<Int8Type> =
            vec![Some("a"), None, Some("a")].into_iter().collect();
        check(Arc::new(coded), Arc::clone(&plain));
        let runs: RunArray<Int32Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
        check(Arc::new(runs), plain);
        let instants = TimestampMicrosecondArray::from(vec![Some(1_768_435_200_000_000), None]);
        check(
            Arc::new(instants.clone().with_timezone("Europe/Paris")),
            Arc::new(instants.with_timezone("UTC")),
        );
        let bytes = BinaryViewArray::from(vec![b"a".as_slice(), b""]);
        check(
            Arc::new(bytes),
            Arc::new(arrow::array::BinaryArray::from(vec![b"a".as_slice(), b""])),
        );
        let small = Decimal64Array::from(vec![150]).with_precision_and_scale(9, 2);
        let wide = arrow::array::Decimal128Array::from(vec![150]).with_precision_and_scale(9, 2);
        check(
            Arc::new(small.expect("it fits")),
            Arc::new(wide.expect("it fits")),
        );
    }

    #[test]
    fn what_is_nested_is_sent_as_announced() {
        let mut views = ListBuilder::new(StringViewBuilder::new());
        views.append_value([Some("a"), None]);
        views.append_null();
        let views: ArrayRef = Arc::new(views.finish());
        let coded: DictionaryArray<Int32Type> = vec!["x", "y"].into_iter().collect();
        let coded: ArrayRef = Arc::new(coded);
        let lists = ListViewArray::new(
            Arc::new(Field::new("item", coded.data_type().clone(), false)),
            ScalarBuffer::from(vec![1, 0]),
            ScalarBuffer::from(vec![1, 2]),
            coded,
            None,
        );
        let inner = [("views", views), ("lists", Arc::new(lists) as ArrayRef)];
        let nested = StructArray::from(RecordBatch::try_from_iter(inner).expect("two columns"));
        let nested: ArrayRef = Arc::new(nested);
        let batch = RecordBatch::try_from_iter([("s", nested)]).expect("a batch");
        let wire = Wire::of(&batch.schema());
        let sent = wire.convert(&batch).expect("it can be converted");
        assert_eq!(sent.schema_ref(), wire.schema());
        let sent = sent.column(0).as_struct();
        assert_eq!(sent.column(0).data_type(), &list(DataType::Utf8));
        let first = sent.column(0).as_list::<i32>().value(0);
        assert_eq!(
            first.as_string::<i32>(),
            &StringArray::from(vec![Some("a"), None])
        );
        assert!(sent.column(0).is_null(1));
        let lists = sent.column(1).as_list::<i32>();
        let (first, second) = (lists.value(0), lists.value(1));
        let all = concat(&[first.as_ref(), second.as_ref()]).expect("texts");
        assert_eq!(
            all.as_string::<i32>(),
            &StringArray::from(vec!["y", "x", "y"])
        );
    }

    #[test]
    fn any_other_difference_is_an_error_and_no_cast() {
        let check = |announced: DataType, made: ArrayRef| {
            let wire = Wire::of(&Schema::new(vec![Field::new("c", announced, true)]));
            let batch = RecordBatch::try_from_iter([("c", made)]).expect("a batch");
            let refused = wire.convert(&batch).expect_err("another type").to_string();
            assert!(
                refused.contains("column \"c\"") && refused.contains("made as"),
                "{refused}"
            );
        };
        let halves: ArrayRef = Arc::new(Float64Array::from(vec![2.5]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![999]));
        check(DataType::Int64, Arc::clone(&halves));
        check(DataType::Int8, Arc::clone(&numbers));
        check(DataType::Float64, Arc::clone(&numbers));
        check(DataType::Utf8, Arc::clone(&numbers));
        check(list(DataType::Int64), numbers);
        let inner = StructArray::from(RecordBatch::try_from_iter([("a", halves)]).expect("one"));
        let fields = |name: &str, data_type| {
            DataType::Struct(Fields::from(vec![Field::new(name, data_type, true)]))
        };
        check(fields("a", DataType::Int64), Arc::new(inner.clone()));
        check(fields("b", DataType::Float64), Arc::new(inner));
        let wire = Wire::of(&Schema::empty());
        let one =
            RecordBatch::try_from_iter([("c", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        assert!(wire.convert(&one.expect("a batch")).is_err());
    }
}
