//! How large the result of a function is, worked out from its arguments.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;

use crate::functions::texts::bounded::{VALUE_MAX, bytes_of};

/// How the result of a function grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::functions) enum Measure {
    /// The first argument, as often as the second one says.
    Repeat,
    /// As many characters as the second argument says.
    Pad,
    /// The first argument with each occurrence of the second replaced by the third.
    Replace,
    /// The same by a pattern, whose matches are not known before.
    ReplacePattern,
    /// All arguments, one behind the other.
    Concat,
    /// All arguments behind the first one, with the first one in between.
    ConcatSeparated,
    /// The elements of the first argument, with the second one in between.
    Join,
    /// From the first argument to the second in steps of the third.
    Range,
    /// As many elements as the second argument says.
    Resize,
    /// Not a size but steps: each character or element of one argument with each of the other.
    Product,
}

/// The functions that have a limit.
pub(in crate::functions) const MEASURES: &[(&str, Measure)] = &[
    ("repeat", Measure::Repeat),
    ("array_repeat", Measure::Repeat),
    ("lpad", Measure::Pad),
    ("rpad", Measure::Pad),
    ("replace", Measure::Replace),
    ("regexp_replace", Measure::ReplacePattern),
    ("concat", Measure::Concat),
    ("concat_ws", Measure::ConcatSeparated),
    ("array_to_string", Measure::Join),
    ("range", Measure::Range),
    ("generate_series", Measure::Range),
    ("array_resize", Measure::Resize),
    ("levenshtein", Measure::Product),
    ("array_has_all", Measure::Product),
];

/// Bytes of an element of a list, at least.
const ELEMENT_BYTES: u64 = 8;
/// Bytes of a character, at most.
const CHARACTER_BYTES: u64 = 4;
const DAY_NS: i128 = 86_400_000_000_000;

/// An argument of a call: the same for all rows, or a column.
pub(in crate::functions) enum Argument {
    Constant(ArrayRef),
    Column(ArrayRef),
}

impl Argument {
    pub(in crate::functions) fn new(value: &ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Self::Column(ArrayRef::clone(array)),
            ColumnarValue::Scalar(scalar) => Self::Constant(scalar.to_array()?),
        })
    }

    pub(in crate::functions) fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// The array, and the row of it that `row` of the call has.
    fn at(&self, row: usize) -> Option<(&ArrayRef, usize)> {
        let (array, row) = match self {
            Self::Constant(array) => (array, 0),
            Self::Column(array) => (array, row),
        };
        array.is_valid(row).then_some((array, row))
    }

    fn bytes(&self, row: usize) -> Option<&[u8]> {
        let (array, row) = self.at(row)?;
        Some(match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row).as_bytes(),
            DataType::LargeUtf8 => array.as_string::<i64>().value(row).as_bytes(),
            DataType::Utf8View => array.as_string_view().value(row).as_bytes(),
            DataType::Binary => array.as_binary::<i32>().value(row),
            DataType::LargeBinary => array.as_binary::<i64>().value(row),
            DataType::BinaryView => array.as_binary_view().value(row),
            _ => return None,
        })
    }

    /// Bytes of a text; of another value what an element of a list takes.
    fn length(&self, row: usize) -> Option<u64> {
        match self.bytes(row) {
            Some(bytes) => Some(bytes.len() as u64),
            None => self.list(row).map_or_else(
                || self.at(row).map(|_| ELEMENT_BYTES),
                |list| Some(bytes_of(&list)),
            ),
        }
    }

    fn list(&self, row: usize) -> Option<ArrayRef> {
        let (array, row) = self.at(row)?;
        match array.data_type() {
            DataType::List(_) => Some(array.as_list::<i32>().value(row)),
            DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
            _ => None,
        }
    }

    fn count(&self, row: usize) -> Option<u64> {
        let number = self.number(row)?;
        Some(u64::try_from(number.max(0)).unwrap_or(u64::MAX))
    }

    /// An integer, or an instant or a day in nanoseconds.
    fn number(&self, row: usize) -> Option<i128> {
        let (array, row) = self.at(row)?;
        let (value, unit) = match array.data_type() {
            DataType::Int64 => (array.as_primitive::<Int64Type>().value(row), 1),
            DataType::Int32 => (i64::from(array.as_primitive::<Int32Type>().value(row)), 1),
            DataType::UInt64 => {
                let numbers = array.as_primitive::<arrow::datatypes::UInt64Type>();
                return Some(i128::from(numbers.value(row)));
            }
            DataType::Date32 => (
                i64::from(array.as_primitive::<Date32Type>().value(row)),
                DAY_NS,
            ),
            DataType::Timestamp(TimeUnit::Second, _) => (
                array.as_primitive::<TimestampSecondType>().value(row),
                1_000_000_000,
            ),
            DataType::Timestamp(TimeUnit::Millisecond, _) => (
                array.as_primitive::<TimestampMillisecondType>().value(row),
                1_000_000,
            ),
            DataType::Timestamp(TimeUnit::Microsecond, _) => (
                array.as_primitive::<TimestampMicrosecondType>().value(row),
                1_000,
            ),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => (
                array.as_primitive::<TimestampNanosecondType>().value(row),
                1,
            ),
            _ => return None,
        };
        Some(i128::from(value) * unit)
    }

    /// The step of a series: a number, or the shortest time that an interval can take, in
    /// nanoseconds.
    fn step(&self, row: usize) -> Option<i128> {
        let (array, at) = self.at(row)?;
        if !matches!(array.data_type(), DataType::Interval(_)) {
            return self.number(row);
        }
        let interval = array
            .as_primitive_opt::<IntervalMonthDayNanoType>()?
            .value(at);
        let days = i128::from(interval.months) * 28 + i128::from(interval.days);
        Some(days * DAY_NS + i128::from(interval.nanoseconds))
    }
}

impl Measure {
    /// Whether a look at the arguments as a whole is enough to see that all results are small.
    pub(in crate::functions) fn is_small(self, arguments: &[Argument], rows: usize) -> bool {
        if !matches!(self, Self::Concat) {
            return false;
        }
        let whole = arguments.iter().map(|argument| match argument {
            Argument::Constant(array) => bytes_of(array).saturating_mul(rows as u64),
            Argument::Column(array) => bytes_of(array),
        });
        whole.fold(0, u64::saturating_add) < VALUE_MAX
    }

    /// Bytes that the result of `row` has at most, or steps that it takes; nothing when it is null
    /// or not known.
    pub(in crate::functions) fn of_row(self, arguments: &[Argument], row: usize) -> Option<u64> {
        let length = |at: usize| arguments.get(at)?.length(row);
        let lengths = |from: usize| {
            let rest = arguments.iter().skip(from);
            rest.filter_map(|argument| argument.length(row))
                .fold(0, u64::saturating_add)
        };
        match self {
            Self::Repeat => Some(length(0)?.saturating_mul(arguments.get(1)?.count(row)?)),
            Self::Pad => {
                let characters = arguments.get(1)?.count(row)?;
                let fill = length(2).unwrap_or(1).min(CHARACTER_BYTES);
                Some(characters.saturating_mul(fill))
            }
            Self::Replace => replaced(arguments, row),
            Self::ReplacePattern => {
                let (text, by) = (length(0)?, length(2)?);
                let flags = arguments.get(3).and_then(|flags| flags.bytes(row));
                let matches = match flags {
                    Some(flags) if flags.contains(&b'g') => text + 1,
                    Some(_) | None => 1,
                };
                Some(text.saturating_add(by.saturating_mul(matches)))
            }
            Self::Concat => Some(lengths(0)),
            Self::ConcatSeparated => {
                let separators = length(0)?.saturating_mul(arguments.len() as u64);
                Some(lengths(1).saturating_add(separators))
            }
            Self::Join => {
                let list = arguments.first()?.list(row)?;
                let separators = length(1)?.saturating_mul(list.len() as u64);
                Some(bytes_of(&list).saturating_add(separators))
            }
            Self::Range => range(arguments, row),
            Self::Resize => Some(arguments.get(1)?.count(row)?.saturating_mul(ELEMENT_BYTES)),
            Self::Product => {
                let parts = |at: usize| match arguments.get(at)?.list(row) {
                    Some(list) => Some(list.len() as u64),
                    None => length(at),
                };
                Some(parts(0)?.saturating_mul(parts(1)?))
            }
        }
    }
}

/// Exact where a guess would be too large: occurrences are counted.
fn replaced(arguments: &[Argument], row: usize) -> Option<u64> {
    let bytes = |at: usize| arguments.get(at)?.bytes(row);
    let (text, from, to) = (bytes(0)?, bytes(1)?, bytes(2)?);
    let (length, by) = (text.len() as u64, to.len() as u64);
    let at_most = length.checked_div(from.len() as u64).unwrap_or(length + 1);
    let bound = length.saturating_add(at_most.saturating_mul(by));
    if bound <= VALUE_MAX || from.is_empty() {
        return Some(bound);
    }
    let (text, from) = (
        std::str::from_utf8(text).ok()?,
        std::str::from_utf8(from).ok()?,
    );
    // As many as are too many, and no more: the rest need not be looked for.
    let enough = usize::try_from(VALUE_MAX / by.max(1) + 1).unwrap_or(usize::MAX);
    let found = text.matches(from).take(enough).count() as u64;
    Some(length.saturating_add(found.saturating_mul(by)))
}

fn range(arguments: &[Argument], row: usize) -> Option<u64> {
    let (start, stop) = match arguments {
        [stop] => (0, stop.number(row)?),
        [start, stop, ..] => (start.number(row)?, stop.number(row)?),
        [] => return None,
    };
    let step = match arguments.get(2) {
        Some(step) => step.step(row)?,
        None => 1,
    };
    // A series without an end, which the function itself refuses.
    if step == 0 || (stop > start) != (step > 0) {
        return Some(0);
    }
    let elements = (stop - start).unsigned_abs() / step.unsigned_abs() + 1;
    let bytes = elements.saturating_mul(u128::from(ELEMENT_BYTES));
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}
