//! Rows as JSON, one object on each line. The output is valid JSON with the exact values, or an
//! error.
//!
//! Arrow's writer writes `null` for NaN, "ERROR: …" for an instant beyond the calendar (without
//! quotes for a decimal), and the same key twice for two columns of one name. Here NaN and the
//! infinities are the texts "NaN", "Infinity" and "-Infinity", as in PostgreSQL's to_json, a value
//! without a text is an error, and keys are unique.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Schema, SchemaRef,
};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, NullableEncoder, WriterBuilder, make_encoder};
use arrow::json::{Encoder, EncoderFactory, EncoderOptions};

use super::text::{Texts, unprintable};

/// Appends the rows of `batch` to `out`: columns in order, nulls included.
///
/// # Errors
/// When a value cannot be printed; `out` is then unchanged.
pub fn write_lines(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let fault = Fault::default();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Strict(fault.clone())))
        .build::<_, LineDelimited>(Vec::new());
    writer.write(&prepared(batch)?)?;
    writer.finish()?;
    fault.found()?;
    out.append(&mut writer.into_inner());
    Ok(())
}

/// The values of `column`, named `name`, as JSON texts.
pub(super) fn texts(name: &str, column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let fault = Fault::default();
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Strict(fault.clone())));
    let field = Arc::new(Field::new(name, column.data_type().clone(), true));
    let mut encoder = make_encoder(&field, column, &options)?;
    let mut text = Vec::new();
    let texts: StringArray = (0..column.len())
        .map(|row| {
            if encoder.is_null(row) {
                return Ok(None);
            }
            text.clear();
            encoder.encode(row, &mut text);
            let text = String::from_utf8(text.clone());
            text.map(Some)
                .map_err(|error| ArrowError::JsonError(error.to_string()))
        })
        .collect::<Result<_, ArrowError>>()?;
    fault.found()?;
    Ok(texts)
}

/// `batch` with unique names and without dictionaries, whose null values the writer does not
/// detect.
fn prepared(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Dictionary(_, values) => cast(column, values),
            _ => Ok(Arc::clone(column)),
        });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let named = unique_names(&batch.schema());
    let fields = named.fields().iter().zip(&columns).map(|(field, column)| {
        let field = field.as_ref().clone();
        field.with_data_type(column.data_type().clone())
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &rows)
}

/// `schema` with unique names: a second `a` becomes `a_1`, or the next free number.
pub fn unique_names(schema: &SchemaRef) -> SchemaRef {
    let mut taken: HashSet<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    if taken.len() == schema.fields().len() {
        return Arc::clone(schema);
    }
    let mut met = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let name = field.name();
        if met.insert(name) {
            return field.as_ref().clone();
        }
        let mut numbered = (1..).map(|number| format!("{name}_{number}"));
        let free = numbered.find(|numbered| !taken.contains(numbered));
        let free = free.expect("there are more numbers than columns");
        taken.insert(free.clone());
        field.as_ref().clone().with_name(free)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The first value that could not be printed. Encoders cannot return errors, so they store it here.
#[derive(Clone, Debug, Default)]
struct Fault(Arc<Mutex<Option<ArrowError>>>);

impl Fault {
    fn leave(&self, field: &str, error: &ArrowError) {
        let mut fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert_with(|| unprintable(field, error));
    }

    fn found(&self) -> Result<(), ArrowError> {
        let mut fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fault.take().map_or(Ok(()), Err)
    }
}

/// Creates encoders for types whose values may have no text, or no JSON number.
#[derive(Debug)]
struct Strict(Fault);

impl EncoderFactory for Strict {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Map(_, _) if !array.as_map().keys().data_type().is_string() => {
                Box::new(self.map(field, array, options)?)
            }
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Box::new(self.values(field, array, false)?),
            data_type if data_type.is_temporal() || !is_finite(array) => {
                Box::new(self.values(field, array, true)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

impl Strict {
    fn values<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        is_text: bool,
    ) -> Result<JsonValues<'a>, ArrowError> {
        Ok(JsonValues {
            texts: Texts::of(array)?,
            form: match (array.data_type().is_floating(), is_text) {
                (true, _) => Form::Float,
                (false, true) => Form::Text,
                (false, false) => Form::Number,
            },
            field: field.name(),
            fault: self.0.clone(),
        })
    }

    fn map<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Entries<'a>, ArrowError> {
        let map = array.as_map();
        Ok(Entries {
            offsets: map.offsets(),
            keys: self.values(field, map.keys(), true)?,
            values: make_encoder(field, map.values(), options)?,
        })
    }
}

/// Whether JSON can represent every value of `array` as a number; only floats may have other
/// values.
fn is_finite(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Float16 => array
            .as_primitive::<Float16Type>()
            .iter()
            .flatten()
            .all(|value| value.is_finite()),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .flatten()
            .all(f32::is_finite),
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .all(f64::is_finite),
        _ => true,
    }
}

/// How a text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    /// A number if it is finite, else a text.
    Float,
}

struct JsonValues<'a> {
    texts: Texts<'a>,
    form: Form,
    field: &'a str,
    fault: Fault,
}

impl Encoder for JsonValues<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = match self.texts.text(row) {
            Ok(text) => text,
            Err(error) => return self.fault.leave(self.field, &error),
        };
        let is_number = match self.form {
            Form::Text => false,
            Form::Number => true,
            Form::Float => !matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity"),
        };
        if is_number {
            out.extend_from_slice(text.as_bytes());
        } else {
            push_text(&text, out);
        }
    }
}

/// A map whose keys are not texts, as JSON requires.
struct Entries<'a> {
    offsets: &'a [i32],
    keys: JsonValues<'a>,
    values: NullableEncoder<'a>,
}

impl Encoder for Entries<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let entries = self.offsets[row]..self.offsets[row + 1];
        out.push(b'{');
        for (position, entry) in entries.enumerate() {
            // Offsets are never negative.
            let entry = entry.unsigned_abs() as usize;
            if position > 0 {
                out.push(b',');
            }
            self.keys.form = Form::Text;
            self.keys.encode(entry, out);
            out.push(b':');
            if self.values.is_null(entry) {
                out.extend_from_slice(b"null");
            } else {
                self.values.encode(entry, out);
            }
        }
        out.push(b'}');
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray,
        Float32Array, Float64Array, Int32Array, Int32Builder, Int64Array,
        IntervalMonthDayNanoArray, MapBuilder, StructArray, Time64MicrosecondArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Int8Type, IntervalMonthDayNano};

    use super::*;

    fn lines(columns: &[(&str, ArrayRef)]) -> Result<String, ArrowError> {
        let fields = columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let arrays = columns
            .iter()
            .map(|(_, column)| Arc::clone(column))
            .collect();
        let batch = RecordBatch::try_new(schema, arrays)?;
        let mut out = Vec::new();
        write_lines(&batch, &mut out)?;
        Ok(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table of cases")]
    fn values_are_valid_json_and_exact() {
        let check = |column: ArrayRef, expected: &str| {
            let found = lines(&[("c", Arc::clone(&column))]).expect("printable");
            let values: Vec<_> = found
                .lines()
                .map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).expect("JSON");
                    let value = line
                        .strip_prefix("{\"c\":")
                        .and_then(|line| line.strip_suffix('}'));
                    value.expect("one column")
                })
                .collect();
            assert_eq!(values.join(" "), expected, "{}", column.data_type());
        };
        let floats = vec![
            Some(0.5),
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
            None,
        ];
        check(
            Arc::new(Float64Array::from(floats)),
            r#"0.5 "NaN" "Infinity" "-Infinity" null"#,
        );
        check(
            Arc::new(Float64Array::from(vec![-0.0, 1e300])),
            "-0.0 1.0e300",
        );
        check(
            Arc::new(Float32Array::from(vec![0.1, f32::NAN])),
            r#"0.1 "NaN""#,
        );
        check(
            Arc::new(Int64Array::from(vec![i64::MAX])),
            "9223372036854775807",
        );
        let amounts = Decimal128Array::from(vec![12_345, -5]).with_precision_and_scale(38, 2);
        check(Arc::new(amounts.expect("they fit")), "123.45 -0.05");
        check(
            Arc::new(Date32Array::from(vec![-719_162, 2_932_896])),
            r#""0001-01-01" "9999-12-31""#,
        );
        let instant = TimestampMicrosecondArray::from(vec![1_768_435_200_500_000]);
        check(
            Arc::new(instant.with_timezone("UTC")),
            r#""2026-01-15T00:00:00.500Z""#,
        );
        check(
            Arc::new(Time64MicrosecondArray::from(vec![36_000_000_000])),
            r#""10:00:00""#,
        );
        check(Arc::new(DurationSecondArray::from(vec![90])), r#""PT90S""#);
        let interval = IntervalMonthDayNano::new(i32::MAX, i32::MIN, 1);
        check(
            Arc::new(IntervalMonthDayNanoArray::from(vec![interval])),
            r#""2147483647 mons -2147483648 days 0.000000001 secs""#,
        );
        check(
            Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()])),
            r#""00ff""#,
        );
        check(Arc::new(StringArray::from(vec!["a\"\n"])), r#""a\"\n""#);
        let coded = DictionaryArray::<Int8Type>::new(
            vec![0, 1].into(),
            Arc::new(StringArray::from(vec![Some("x"), None])),
        );
        check(Arc::new(coded), r#""x" null"#);
        let mut map = MapBuilder::new(None, Int32Builder::new(), Int32Builder::new());
        map.keys().append_value(1);
        map.values().append_null();
        map.append(true).expect("an entry");
        map.append(false).expect("a null");
        check(Arc::new(map.finish()), r#"{"1":null} null"#);
        let inner: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
        let inner = RecordBatch::try_from_iter([("x", inner)]).expect("a batch");
        check(Arc::new(StructArray::from(inner)), r#"{"x":"NaN"}"#);
    }

    #[test]
    fn a_value_without_text_is_an_error_and_nothing_is_written() {
        let check = |column: ArrayRef| {
            let mut out = b"before".to_vec();
            let batch = RecordBatch::try_from_iter([("c", column)]).expect("a batch");
            let refused = write_lines(&batch, &mut out)
                .expect_err("no text")
                .to_string();
            assert!(
                refused.contains("column \"c\"") && out == b"before",
                "{refused}"
            );
        };
        check(Arc::new(Date32Array::from(vec![i32::MAX])));
        check(Arc::new(
            TimestampMicrosecondArray::from(vec![i64::MIN]).with_timezone("UTC"),
        ));
        check(Arc::new(DurationSecondArray::from(vec![i64::MAX])));
        let days: ArrayRef = Arc::new(Date32Array::from(vec![i32::MIN]));
        let nested = RecordBatch::try_from_iter([("c", days)]).expect("a batch");
        check(Arc::new(StructArray::from(nested)));
    }

    #[test]
    fn equal_column_names_become_unique_keys() {
        let check = |names: &[&str], expected: &str| {
            let one: ArrayRef = Arc::new(Int32Array::from(vec![1]));
            let columns: Vec<_> = names.iter().map(|name| (*name, Arc::clone(&one))).collect();
            let found = lines(&columns).expect("printable");
            assert_eq!(found.replace(":1", "").replace('"', "").trim(), expected);
        };
        check(&["a", "b"], "{a,b}");
        check(&["a", "a", "a"], "{a,a_1,a_2}");
        check(&["a", "a", "a_1"], "{a,a_2,a_1}");
        check(&["a_1", "a", "a", "a_1"], "{a_1,a,a_2,a_1_1}");
        check(&["", ""], "{,_1}");
    }
}
