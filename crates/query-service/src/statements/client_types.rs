//! The column types that clients get: older drivers cannot read the newer types of Arrow, so a
//! result has none of those.
//!
//! Described and streamed columns both come from [`ClientTypes`], so that they are equal. Rows are
//! cast to the described types only where no value changes: another encoding of the same values
//! (views, dictionaries, run ends, list views), another zone of the same instants, or a wider type
//! of the same number. Any other difference is a bug of the planner and ends the statement, because
//! a cast would change values silently.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, FixedSizeListArray, GenericListArray, MapArray,
    OffsetSizeTrait, RecordBatch, RecordBatchOptions, StructArray, make_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

/// The columns of a result as clients get them.
#[derive(Clone, Debug)]
pub struct ClientTypes(SchemaRef);

impl ClientTypes {
    /// The columns for rows that are planned as `schema`.
    ///
    /// Every column is nullable. The planner derives nullability from statistics and bound values,
    /// so that it would differ between two descriptions of one statement.
    pub fn of(schema: &Schema) -> Self {
        let fields: Fields = schema.fields().iter().map(client_field).collect();
        Self(Arc::new(Schema::new(fields)))
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.0
    }

    /// Casts a batch to the described types, which most batches have.
    ///
    /// # Errors
    /// When the number of columns differs, or a column has a type that cannot be cast exactly.
    pub(crate) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.num_columns() != self.0.fields().len() {
            return Err(ArrowError::SchemaError(format!(
                "{} columns were described and {} were computed",
                self.0.fields().len(),
                batch.num_columns()
            )));
        }
        let pairs = batch.columns().iter().zip(self.0.fields());
        let columns = pairs.map(|(column, field)| {
            cast_exact(column, field.data_type()).map_err(|difference| {
                let name = field.name();
                ArrowError::SchemaError(format!("column \"{name}\": {difference}"))
            })
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.0), columns, &rows)
    }
}

/// Casts `array` to the type that a client would get.
pub(crate) fn to_client_array(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    cast_exact(array, &client_type(array.data_type()))
}

fn client_field(field: &FieldRef) -> FieldRef {
    // The metadata of a file's columns is for readers of the file.
    Arc::new(Field::new(
        field.name(),
        client_type(field.data_type()),
        true,
    ))
}

/// The oldest Arrow type that holds the same values.
fn client_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => client_type(values),
        DataType::RunEndEncoded(_, values) => client_type(values.data_type()),
        DataType::ListView(item) | DataType::List(item) => DataType::List(client_field(item)),
        DataType::LargeListView(item) | DataType::LargeList(item) => {
            DataType::LargeList(client_field(item))
        }
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(client_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(client_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(client_entries(entries), *sorted),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Float16 => DataType::Float32,
        // The JDBC driver shifts instants of another zone by its offset (apache/arrow-java#732).
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
        other => other.clone(),
    }
}

/// The entries of a map and their keys are never null, by the definition of the type.
fn client_entries(entries: &FieldRef) -> FieldRef {
    let data_type = match entries.data_type() {
        DataType::Struct(fields) => {
            let converted = fields.iter().enumerate().map(|(position, field)| {
                let converted = client_field(field).as_ref().clone();
                converted.with_nullable(position > 0)
            });
            DataType::Struct(converted.collect())
        }
        other => client_type(other),
    };
    Arc::new(Field::new(entries.name(), data_type, false))
}

/// Casts `array` to type `described`, where the cast changes no value.
fn cast_exact(array: &ArrayRef, described: &DataType) -> Result<ArrayRef, ArrowError> {
    let actual = array.data_type();
    if actual == described {
        return Ok(Arc::clone(array));
    }
    match (actual, described) {
        (DataType::Utf8View, DataType::Utf8)
        | (DataType::BinaryView, DataType::Binary)
        | (DataType::Float16, DataType::Float32) => cast(array, described),
        (
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale),
            DataType::Decimal128(wider, same),
        ) if precision == wider && scale == same => cast(array, described),
        // The values of an instant are in UTC; the zone only says how to print them.
        (DataType::Timestamp(unit, Some(_)), DataType::Timestamp(same, Some(_)))
            if unit == same =>
        {
            let data = array.to_data().into_builder().data_type(described.clone());
            Ok(make_array(data.build()?))
        }
        (DataType::Dictionary(_, values), _) => cast_exact(&cast(array, values)?, described),
        (DataType::RunEndEncoded(_, values), _) => {
            cast_exact(&cast(array, values.data_type())?, described)
        }
        (DataType::ListView(item), DataType::List(_)) => {
            let list = cast(array, &DataType::List(Arc::clone(item)))?;
            cast_exact(&list, described)
        }
        (DataType::LargeListView(item), DataType::LargeList(_)) => {
            let list = cast(array, &DataType::LargeList(Arc::clone(item)))?;
            cast_exact(&list, described)
        }
        (DataType::List(_), DataType::List(item)) => cast_list::<i32>(array, item),
        (DataType::LargeList(_), DataType::LargeList(item)) => cast_list::<i64>(array, item),
        (DataType::FixedSizeList(_, actual), DataType::FixedSizeList(item, size))
            if actual == size =>
        {
            let list = array.as_fixed_size_list();
            let values = cast_exact(list.values(), item.data_type())?;
            let nulls = list.nulls().cloned();
            let item = Arc::clone(item);
            let list =
                FixedSizeListArray::try_new_with_length(item, *size, values, nulls, list.len())?;
            Ok(Arc::new(list))
        }
        (DataType::Struct(actual), DataType::Struct(fields)) if same_names(actual, fields) => {
            Ok(Arc::new(cast_struct(array.as_struct(), fields)?))
        }
        (DataType::Map(_, actual), DataType::Map(entries, sorted)) if actual == sorted => {
            cast_map(array.as_map(), entries, *sorted)
        }
        (actual, described) => Err(ArrowError::SchemaError(format!(
            "described as {described}, computed as {actual}"
        ))),
    }
}

fn same_names(actual: &Fields, described: &Fields) -> bool {
    let names = |fields: &Fields| {
        fields
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>()
    };
    names(actual) == names(described)
}

fn cast_list<O: OffsetSizeTrait>(
    array: &ArrayRef,
    item: &FieldRef,
) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let values = cast_exact(list.values(), item.data_type())?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    let list = GenericListArray::<O>::try_new(Arc::clone(item), offsets, values, nulls)?;
    Ok(Arc::new(list))
}

fn cast_struct(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let pairs = array.columns().iter().zip(fields);
    let columns = pairs.map(|(column, field)| cast_exact(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = array.nulls().cloned();
    StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())
}

fn cast_map(array: &MapArray, entries: &FieldRef, sorted: bool) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(ArrowError::SchemaError(
            "the entries of a map are no struct".to_owned(),
        ));
    };
    let converted = cast_struct(array.entries(), fields)?;
    let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
    let map = MapArray::try_new(Arc::clone(entries), offsets, converted, nulls, sorted)?;
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
    fn types_that_old_drivers_cannot_read_are_replaced() {
        let check = |data_type: DataType, expected: DataType| {
            assert_eq!(client_type(&data_type), expected, "{data_type}");
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
    fn another_encoding_of_the_same_values_is_cast() {
        let check = |actual: ArrayRef, expected: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("c", actual)]).expect("a batch");
            let client_types = ClientTypes::of(&batch.schema());
            let converted = client_types.convert(&batch).expect("it can be cast");
            assert_eq!(converted.schema_ref(), client_types.schema());
            assert_eq!(converted.column(0), &expected, "{}", batch.schema());
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
    fn nested_columns_are_cast() {
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
        let client_types = ClientTypes::of(&batch.schema());
        let converted = client_types.convert(&batch).expect("it can be cast");
        assert_eq!(converted.schema_ref(), client_types.schema());
        let converted = converted.column(0).as_struct();
        assert_eq!(converted.column(0).data_type(), &list(DataType::Utf8));
        let first = converted.column(0).as_list::<i32>().value(0);
        assert_eq!(
            first.as_string::<i32>(),
            &StringArray::from(vec![Some("a"), None])
        );
        assert!(converted.column(0).is_null(1));
        let lists = converted.column(1).as_list::<i32>();
        let (first, second) = (lists.value(0), lists.value(1));
        let all = concat(&[first.as_ref(), second.as_ref()]).expect("texts");
        assert_eq!(
            all.as_string::<i32>(),
            &StringArray::from(vec!["y", "x", "y"])
        );
    }

    #[test]
    fn any_other_difference_is_an_error() {
        let check = |described: DataType, actual: ArrayRef| {
            let client_types =
                ClientTypes::of(&Schema::new(vec![Field::new("c", described, true)]));
            let batch = RecordBatch::try_from_iter([("c", actual)]).expect("a batch");
            let refused = client_types
                .convert(&batch)
                .expect_err("another type")
                .to_string();
            assert!(
                refused.contains("column \"c\"") && refused.contains("computed as"),
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
        let client_types = ClientTypes::of(&Schema::empty());
        let one =
            RecordBatch::try_from_iter([("c", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        assert!(client_types.convert(&one.expect("a batch")).is_err());
    }
}
