//! JSON in a text, such as `value`: `json -> 'key'`, `json ->> 'key'`, and functions of the same
//! names as those of the crate `datafusion-functions-json`.
//!
//! That crate returns a union of types, which clients over Flight and the formats of the shell
//! cannot read. Here what `->` finds is JSON again, as a text. A text that is not JSON, and a path
//! that leads nowhere, give null.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder,
    StringBuilder,
};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What a function returns of the value that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// JSON again: `->`.
    Json,
    /// A text as it is, anything else as JSON: `->>`.
    Text,
    /// Only a text.
    Str,
    Int,
    Float,
    Bool,
    /// The elements of a list, as JSON.
    Array,
    /// How many elements or keys.
    Length,
    Keys,
    /// Whether there is a value.
    Contains,
}

const FUNCTIONS: &[(&str, Kind)] = &[
    ("json_get", Kind::Json),
    ("json_get_json", Kind::Json),
    ("json_as_text", Kind::Text),
    ("json_get_str", Kind::Str),
    ("json_get_int", Kind::Int),
    ("json_get_float", Kind::Float),
    ("json_get_bool", Kind::Bool),
    ("json_get_array", Kind::Array),
    ("json_length", Kind::Length),
    ("json_object_keys", Kind::Keys),
    ("json_contains", Kind::Contains),
];

pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    FUNCTIONS.iter().map(|(name, kind)| {
        ScalarUDF::from(Json {
            name,
            kind: *kind,
            signature: Signature::user_defined(Volatility::Immutable),
        })
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Json {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Json {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let Some((json, path)) = types.split_first() else {
            return plan_err!("{} takes JSON, and names or positions in it", self.name);
        };
        let is_text = json.is_string() || json.is_null();
        if !is_text || (self.kind == Kind::Contains && path.is_empty()) {
            return plan_err!(
                "{} takes a text of JSON, and names or positions in it",
                self.name
            );
        }
        let step = |step: &DataType| match step {
            step if step.is_integer() => DataType::Int64,
            _ => DataType::Utf8,
        };
        Ok(std::iter::once(DataType::Utf8)
            .chain(path.iter().map(step))
            .collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let list = || DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        Ok(match self.kind {
            Kind::Json | Kind::Text | Kind::Str => DataType::Utf8,
            Kind::Int | Kind::Length => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Bool | Kind::Contains => DataType::Boolean,
            Kind::Array | Kind::Keys => list(),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let texts = columns[0].as_string::<i32>();
        let rows = (0..texts.len()).map(|row| {
            let text = texts.is_valid(row).then(|| texts.value(row))?;
            let path = columns[1..].iter().map(|column| Step::of(column, row));
            let path = path.collect::<Option<Vec<_>>>()?;
            Some(find(text, &path))
        });
        Ok(ColumnarValue::Array(self.kind.column(rows)))
    }
}

impl Kind {
    /// The column of what was found in each row; a row without JSON or a path is null.
    fn column<'a>(self, rows: impl Iterator<Item = Option<Option<&'a str>>>) -> ArrayRef {
        match self {
            Self::Contains => {
                let mut column = BooleanBuilder::new();
                rows.for_each(|found| column.append_option(found.map(|found| found.is_some())));
                Arc::new(column.finish())
            }
            Self::Bool => {
                let mut column = BooleanBuilder::new();
                rows.for_each(|found| column.append_option(parsed(found.flatten())));
                Arc::new(column.finish())
            }
            Self::Int => {
                let mut column = Int64Builder::new();
                rows.for_each(|found| column.append_option(parsed(found.flatten())));
                Arc::new(column.finish())
            }
            Self::Float => {
                let mut column = Float64Builder::new();
                rows.for_each(|found| column.append_option(parsed(found.flatten())));
                Arc::new(column.finish())
            }
            Self::Length => {
                let mut column = Int64Builder::new();
                rows.for_each(|found| column.append_option(found.flatten().and_then(length)));
                Arc::new(column.finish())
            }
            Self::Json | Self::Text | Self::Str => {
                let mut column = StringBuilder::new();
                rows.for_each(|found| {
                    column.append_option(found.flatten().and_then(|found| self.text(found)));
                });
                Arc::new(column.finish())
            }
            Self::Array | Self::Keys => {
                let mut column = ListBuilder::new(StringBuilder::new());
                rows.for_each(|found| {
                    let parts = found.flatten().and_then(|found| self.parts(found));
                    let is_there = parts.is_some();
                    for part in parts.into_iter().flatten() {
                        column.values().append_value(part);
                    }
                    column.append(is_there);
                });
                Arc::new(column.finish())
            }
        }
    }

    fn text(self, found: &str) -> Option<Cow<'_, str>> {
        if found == "null" {
            return None;
        }
        match self {
            Self::Json => Some(Cow::Borrowed(found)),
            _ if found.starts_with('"') => serde_json::from_str(found).ok().map(Cow::Owned),
            Self::Str => None,
            _ => Some(Cow::Borrowed(found)),
        }
    }

    fn parts(self, found: &str) -> Option<Vec<String>> {
        let parts = Parts::read(found)?;
        Some(match (self, parts) {
            (Self::Array, Parts::List(elements)) => {
                elements.into_iter().map(str::to_owned).collect()
            }
            (Self::Keys, Parts::Object(keys)) => keys,
            _ => return None,
        })
    }
}

fn parsed<T: serde::de::DeserializeOwned>(found: Option<&str>) -> Option<T> {
    serde_json::from_str(found?).ok()
}

fn length(found: &str) -> Option<i64> {
    let length = match Parts::read(found)? {
        Parts::List(elements) => elements.len(),
        Parts::Object(keys) => keys.len(),
    };
    i64::try_from(length).ok()
}

/// One step of a path.
enum Step<'a> {
    Key(&'a str),
    /// A position in a list; a negative one counts from its end.
    Position(i64),
}

impl<'a> Step<'a> {
    fn of(column: &'a ArrayRef, row: usize) -> Option<Self> {
        if column.is_null(row) {
            return None;
        }
        Some(match column.data_type() {
            DataType::Int64 => Self::Position(column.as_primitive::<Int64Type>().value(row)),
            _ => Self::Key(column.as_string::<i32>().value(row)),
        })
    }
}

/// The JSON at `path` of `text`.
fn find<'t>(text: &'t str, path: &[Step<'_>]) -> Option<&'t str> {
    let whole: &RawValue = serde_json::from_str(text).ok()?;
    let mut found = whole.get();
    for step in path {
        let mut json = serde_json::Deserializer::from_str(found);
        found = json.deserialize_any(Find(step)).ok()??;
    }
    Some(found)
}

/// Finds one member of an object or list, and skips the others unparsed.
struct Find<'s>(&'s Step<'s>);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if matches!(self.0, Step::Key(wanted) if *wanted == key) {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element::<&RawValue>()? {
            elements.push(element.get());
        }
        let Step::Position(position) = self.0 else {
            return Ok(None);
        };
        let position = match position {
            0.. => usize::try_from(*position).ok(),
            _ => {
                let back = usize::try_from(position.unsigned_abs()).ok();
                back.and_then(|back| elements.len().checked_sub(back))
            }
        };
        Ok(position.and_then(|position| elements.get(position).copied()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The members of an object or a list.
enum Parts<'a> {
    List(Vec<&'a str>),
    Object(Vec<String>),
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if text.starts_with('[') {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            return Some(Self::List(
                elements.into_iter().map(RawValue::get).collect(),
            ));
        }
        let keys = serde_json::Deserializer::from_str(text)
            .deserialize_map(Keys)
            .ok()?;
        Some(Self::Object(keys))
    }
}

/// The keys of an object, in their order.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, IgnoredAny)) = map.next_entry()? {
            keys.push(key);
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Step, find};

    #[test]
    fn a_path_leads_into_objects_and_lists() {
        let json = r#"{"a": {"b": [10, {"c": "\u00e9"}, null]}, "n": 1.50, "t": true}"#;
        let check = |path: &[Step<'_>], found: Option<&str>| {
            assert_eq!(find(json, path), found);
        };
        let key = Step::Key;
        check(&[key("n")], Some("1.50"));
        check(&[key("a"), key("b"), Step::Position(0)], Some("10"));
        check(&[key("a"), key("b"), Step::Position(-1)], Some("null"));
        check(&[key("a"), key("b"), Step::Position(3)], None);
        check(&[key("a"), key("b"), Step::Position(-4)], None);
        check(&[key("a"), key("x")], None);
        check(&[key("n"), key("x")], None);
        let text = r#""\u00e9""#;
        let path = [key("a"), key("b"), Step::Position(1), key("c")];
        check(&path, Some(text));
        assert_eq!(Kind::Text.text(text).as_deref(), Some("é"));
        assert_eq!(Kind::Json.text(text).as_deref(), Some(text));
        assert_eq!(Kind::Str.text("1"), None);
        assert_eq!(find("{", &[]), None);
    }
}
