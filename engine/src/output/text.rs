//! Values as text, for users and scripts.
//!
//! Arrow writes `ERROR: …` or `<invalid>` for a value that it cannot format, such as a day beyond
//! the calendar. Here that is an error, because a script would mistake either for data.

use std::fmt;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::json;

/// What Arrow prints for a duration outside the range of the calendar library.
const INVALID: &str = "<invalid>";

/// Formats the values of one column.
pub struct Texts<'a>(ArrayFormatter<'a>);

impl fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}

impl<'a> Texts<'a> {
    pub fn of(column: &'a dyn Array) -> Result<Self, ArrowError> {
        static OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(false);
        ArrayFormatter::try_new(column, &OPTIONS).map(Self)
    }

    /// The text of a value; empty for null.
    ///
    /// # Errors
    /// When the value has none.
    pub fn text(&self, row: usize) -> Result<String, ArrowError> {
        let text = self.0.value(row).try_to_string()?;
        Ok(match text.as_str() {
            INVALID => {
                let message = "the duration is beyond what can be printed".to_owned();
                return Err(ArrowError::CastError(message));
            }
            // As in PostgreSQL.
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            _ => text,
        })
    }
}

/// The values of `column`, named `name`, as texts; nested values become JSON.
///
/// # Errors
/// When a value has no text; the message names the column.
pub fn texts(name: &str, column: &ArrayRef) -> Result<StringArray, ArrowError> {
    if column.data_type().is_nested() {
        return json::texts(name, column);
    }
    let texts = Texts::of(column).map_err(|error| unprintable(name, &error))?;
    let nulls = column.logical_nulls();
    let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    (0..column.len())
        .map(|row| {
            if is_null(row) {
                return Ok(None);
            }
            texts
                .text(row)
                .map(Some)
                .map_err(|error| unprintable(name, &error))
        })
        .collect()
}

/// The error for a value of column `name` that has no text.
pub(super) fn unprintable(name: &str, error: &ArrowError) -> ArrowError {
    ArrowError::CastError(format!(
        "column \"{name}\" holds a value that cannot be printed ({error}); CAST it, or leave it out"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, DurationSecondArray, Float64Array, Int64Array,
        ListArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn values_have_their_text() {
        let check = |column: ArrayRef, expected: &[Option<&str>]| {
            let found = texts("c", &column).expect("printable");
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                expected,
                "{}",
                column.data_type()
            );
        };
        check(
            Arc::new(Int64Array::from(vec![Some(7), None])),
            &[Some("7"), None],
        );
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5];
        let expected = [
            Some("NaN"),
            Some("Infinity"),
            Some("-Infinity"),
            Some("0.5"),
        ];
        check(Arc::new(Float64Array::from(odd.to_vec())), &expected);
        let last = Date32Array::from(vec![2_932_896]);
        check(Arc::new(last), &[Some("9999-12-31")]);
        let amount = Decimal128Array::from(vec![-150]).with_precision_and_scale(38, 2);
        check(Arc::new(amount.expect("it fits")), &[Some("-1.50")]);
        check(
            Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()])),
            &[Some("00ff")],
        );
        let list =
            ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        check(Arc::new(list), &[Some("[1,null]"), None]);
    }

    #[test]
    fn a_value_without_text_is_an_error_that_names_the_column() {
        let check = |column: ArrayRef| {
            let refused = texts("c", &column).expect_err("no text").to_string();
            assert!(refused.contains("column \"c\""), "{refused}");
        };
        check(Arc::new(Date32Array::from(vec![i32::MAX])));
        check(Arc::new(
            TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC"),
        ));
        check(Arc::new(DurationSecondArray::from(vec![i64::MAX])));
    }
}
