//! The declared type of a message: a tree of fields, read from the `[message]` part of a table
//! file.
//!
//! ```toml
//! [message]
//! key = "text"                            # absent or null is null
//! "labels!" = {}                          # a required object with any fields
//!
//! [message.weather]
//! id = "bigint not null"
//! main.temp = "double not null"           # dotted keys are objects
//! tags = ["text"]                         # a list of scalars
//!
//! [message."precipitations_info!"]        # a required object with optional fields
//! rain_1h = "double"
//!
//! [[message.forecast."list!"]]            # a required list of objects, which may be empty
//! dt = "bigint not null"
//! raw = "json"                            # any value, kept as its text
//! ```
//!
//! `not null` requires a value at this path in every message, or in every element of the innermost
//! list around it. It therefore also requires the objects on the path. A `!` after the name
//! requires a list or an object itself. A field whose name ends in `!` cannot be declared.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::{DataType, Field, Fields};
use toml::{Table, Value};

/// The types of scalars, for error messages.
const SCALARS: &str = "\"boolean\", \"bigint\", \"double\", \"text\" and \"json\", each with or without \" not null\"";

/// The declared type of a message. Its fields are ordered by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Declared fields by name.
    pub(super) fields: BTreeMap<String, Declared>,
}

/// The declared type of one field, or of the elements of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// Type of the value.
    pub(super) kind: Kind,
    /// Whether `not null` or `!` is written here. [`Declared::is_required`] also considers the
    /// fields below.
    marked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Bigint,
    Double,
    Text,
    Json,
    Object(Shape),
    List(Box<Declared>),
}

/// Why a declaration is invalid, or contradicts another one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("message field \"{path}\" is declared as \"{found}\"; the types are {SCALARS}")]
    UnknownType { path: String, found: String },
    #[error(
        "message field \"{path}\" is declared by {found}; write a type in quotes ({SCALARS}), a table or a list"
    )]
    NotADeclaration { path: String, found: &'static str },
    #[error("message field \"{path}\" is a list declared by {count} elements; write exactly one")]
    ElementCount { path: String, count: usize },
    #[error(
        "message field \"{path}\" is a scalar; write \"not null\" after its type, not \"!\" after its name"
    )]
    MarkedScalar { path: String },
    #[error("message field \"{path}\" is declared twice, with and without \"!\"")]
    DeclaredTwice { path: String },
    #[error(
        "message field \"{path}\" is declared as {one} by one table of the topic and as {other} by another"
    )]
    Conflict {
        path: String,
        one: &'static str,
        other: &'static str,
    },
}

impl Shape {
    /// Reads the `[message]` part of a table file's header.
    pub fn parse(message: &Table) -> Result<Self, ShapeError> {
        parse_object(message, &Path::Root)
    }

    /// The union of the shapes of two tables: the fields of both, required if one of them requires
    /// it.
    pub fn merge(one: &Self, other: &Self) -> Result<Self, ShapeError> {
        merge_objects(one, other, &Path::Root)
    }

    /// The Arrow type of the decoded message. All fields are nullable: the decoder enforces
    /// `not null`, and SQL is planned the same whether or not a table requires a field.
    pub fn data_type(&self) -> DataType {
        DataType::Struct(self.arrow_fields())
    }

    pub(super) fn arrow_fields(&self) -> Fields {
        self.fields
            .iter()
            .map(|(name, declared)| Field::new(name, declared.kind.data_type(), true))
            .collect()
    }

    /// An object of required fields, for shapes that the code defines.
    pub(super) fn of<const N: usize>(fields: [(&str, Kind); N]) -> Self {
        let required = |kind| Declared { kind, marked: true };
        let fields = fields.map(|(name, kind)| (name.to_owned(), required(kind)));
        Self {
            fields: BTreeMap::from(fields),
        }
    }
}

impl Declared {
    /// Whether null is refused here: because it is declared so, or because a field below is
    /// required.
    pub(super) fn is_required(&self) -> bool {
        self.marked
            || match &self.kind {
                Kind::Object(shape) => shape.fields.values().any(Self::is_required),
                _ => false,
            }
    }
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Double => "double",
            Self::Text => "text",
            Self::Json => "json",
            Self::Object(_) => "object",
            Self::List(_) => "list",
        }
    }

    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Bigint => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Text | Self::Json => DataType::Utf8,
            Self::Object(shape) => shape.data_type(),
            Self::List(element) => DataType::new_list(element.kind.data_type(), true),
        }
    }

    fn scalar(name: &str) -> Option<Self> {
        match name {
            "boolean" => Some(Self::Boolean),
            "bigint" => Some(Self::Bigint),
            "double" => Some(Self::Double),
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

fn parse_object(table: &Table, path: &Path) -> Result<Shape, ShapeError> {
    let mut fields = BTreeMap::new();
    for (key, value) in table {
        let name = key.strip_suffix('!').unwrap_or(key);
        let path = path.field(name);
        let mut declared = parse_declared(value, &path)?;
        if name != key {
            if !matches!(declared.kind, Kind::Object(_) | Kind::List(_)) {
                return Err(ShapeError::MarkedScalar {
                    path: path.to_string(),
                });
            }
            declared.marked = true;
        }
        if fields.insert(name.to_owned(), declared).is_some() {
            return Err(ShapeError::DeclaredTwice {
                path: path.to_string(),
            });
        }
    }
    Ok(Shape { fields })
}

fn parse_declared(value: &Value, path: &Path) -> Result<Declared, ShapeError> {
    let kind = match value {
        Value::String(text) => return parse_scalar(text, path),
        Value::Table(fields) => Kind::Object(parse_object(fields, path)?),
        Value::Array(elements) => match elements.as_slice() {
            [element] => Kind::List(Box::new(parse_declared(element, &path.element())?)),
            _ => {
                return Err(ShapeError::ElementCount {
                    path: path.to_string(),
                    count: elements.len(),
                });
            }
        },
        _ => {
            return Err(ShapeError::NotADeclaration {
                path: path.to_string(),
                found: value.type_str(),
            });
        }
    };
    Ok(Declared {
        kind,
        marked: false,
    })
}

fn parse_scalar(text: &str, path: &Path) -> Result<Declared, ShapeError> {
    let (name, marked) = match text.strip_suffix(" not null") {
        Some(name) => (name, true),
        None => (text, false),
    };
    match Kind::scalar(name) {
        Some(kind) => Ok(Declared { kind, marked }),
        None => Err(ShapeError::UnknownType {
            path: path.to_string(),
            found: text.to_owned(),
        }),
    }
}

fn merge_objects(one: &Shape, other: &Shape, path: &Path) -> Result<Shape, ShapeError> {
    let mut merged = one.clone();
    for (name, theirs) in &other.fields {
        let declared = match one.fields.get(name) {
            Some(ours) => merge_declared(ours, theirs, &path.field(name))?,
            None => theirs.clone(),
        };
        merged.fields.insert(name.clone(), declared);
    }
    Ok(merged)
}

fn merge_declared(one: &Declared, other: &Declared, path: &Path) -> Result<Declared, ShapeError> {
    let kind = match (&one.kind, &other.kind) {
        (Kind::Object(one), Kind::Object(other)) => Kind::Object(merge_objects(one, other, path)?),
        (Kind::List(one), Kind::List(other)) => {
            Kind::List(Box::new(merge_declared(one, other, &path.element())?))
        }
        (one, other) if one == other => one.clone(),
        (one, other) => {
            return Err(ShapeError::Conflict {
                path: path.to_string(),
                one: one.name(),
                other: other.name(),
            });
        }
    };
    let marked = one.marked || other.marked;
    Ok(Declared { kind, marked })
}

/// The path of a declaration in the message, for error messages.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>),
}

impl<'a> Path<'a> {
    fn field(&'a self, name: &'a str) -> Self {
        Self::Field(self, name)
    }

    fn element(&'a self) -> Self {
        Self::Element(self)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Element(list) => write!(f, "{list}[]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Shape, ShapeError> {
        Shape::parse(&text.parse().expect("the case is TOML"))
    }

    /// The fields with their types, and `!` where null is refused.
    fn outline(shape: &Shape) -> String {
        let fields: Vec<String> = shape
            .fields
            .iter()
            .map(|(name, declared)| format!("{name}: {}", outline_declared(declared)))
            .collect();
        format!("{{{}}}", fields.join(", "))
    }

    fn outline_declared(declared: &Declared) -> String {
        let kind = match &declared.kind {
            Kind::Object(shape) => outline(shape),
            Kind::List(element) => format!("[{}]", outline_declared(element)),
            scalar => scalar.name().to_owned(),
        };
        kind + if declared.is_required() { "!" } else { "" }
    }

    #[test]
    fn declaration_parses_to_shape_or_error() {
        let check = |text: &str, expected: &str| {
            let outline =
                parse(text).map_or_else(|error| error.to_string(), |shape| outline(&shape));
            assert_eq!(outline, expected, "{text}");
        };
        check("", "{}");
        check(
            "a = 'boolean'\nb = 'bigint'\nc = 'double'\nd = 'text'\ne = 'json'",
            "{a: boolean, b: bigint, c: double, d: text, e: json}",
        );
        check("a = 'text not null'", "{a: text!}");
        check("a.b.c = 'text'", "{a: {b: {c: text}}}");
        check("a.b.c = 'text not null'", "{a: {b: {c: text!}!}!}");
        check("['a!']\nb = 'text'", "{a: {b: text}!}");
        check("['a!']", "{a: {}!}");
        check("a = ['double']", "{a: [double]}");
        check("a = ['double not null']", "{a: [double!]}");
        check("a = [['double']]", "{a: [[double]]}");
        check("[[a]]\nb = 'text not null'", "{a: [{b: text!}!]}");
        check("[[a.'b!']]\nc = 'text'", "{a: {b: [{c: text}]!}!}");
        check(
            "a = 'int'",
            "message field \"a\" is declared as \"int\"; the types are \"boolean\", \"bigint\", \"double\", \"text\" \
             and \"json\", each with or without \" not null\"",
        );
        check(
            "[[a.b]]\nc = 5",
            "message field \"a.b[].c\" is declared by integer; write a type in quotes (\"boolean\", \"bigint\", \
             \"double\", \"text\" and \"json\", each with or without \" not null\"), a table or a list",
        );
        check(
            "a = []",
            "message field \"a\" is a list declared by 0 elements; write exactly one",
        );
        check(
            "a = ['text', 'text']",
            "message field \"a\" is a list declared by 2 elements; write exactly one",
        );
        check(
            "'a!' = 'text'",
            "message field \"a\" is a scalar; write \"not null\" after its type, not \"!\" after its name",
        );
        check(
            "a.b = 'text'\n'a!'.c = 'text'",
            "message field \"a\" is declared twice, with and without \"!\"",
        );
    }

    #[test]
    fn merged_shape_has_fields_of_both() {
        let check = |one: &str, other: &str, expected: &str| {
            let (one, other) = (parse(one).expect("a shape"), parse(other).expect("a shape"));
            let outline = match Shape::merge(&one, &other) {
                Ok(merged) => {
                    assert_eq!(
                        Shape::merge(&other, &one).as_ref(),
                        Ok(&merged),
                        "either order"
                    );
                    outline(&merged)
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(outline, expected);
        };
        check("a = 'text'", "", "{a: text}");
        check("a = 'text'", "b = 'double'", "{a: text, b: double}");
        check("a = 'text'", "a = 'text not null'", "{a: text!}");
        check(
            "a.b = 'text'",
            "a.c = 'text not null'",
            "{a: {b: text, c: text!}!}",
        );
        check("['a!']", "a.b = 'text'", "{a: {b: text}!}");
        check(
            "[[a]]\nb = 'text'",
            "[['a!']]\nc = 'text not null'",
            "{a: [{b: text, c: text!}!]!}",
        );
        check(
            "[[a.b]]\nc = 'text'",
            "[[a.b]]\nc = 'json'",
            "message field \"a.b[].c\" is declared as text by one table of the topic and as json by another",
        );
        check(
            "a.b = 'text'",
            "a = ['text']",
            "message field \"a\" is declared as object by one table of the topic and as list by another",
        );
    }

    #[test]
    fn shape_has_nullable_arrow_type() {
        let shape =
            parse("a = 'bigint not null'\n[[b]]\nc = 'double'\nd = 'json'").expect("a shape");
        let item = DataType::Struct(Fields::from(vec![
            Field::new("c", DataType::Float64, true),
            Field::new("d", DataType::Utf8, true),
        ]));
        let expected = Fields::from(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::new_list(item, true), true),
        ]);
        assert_eq!(shape.data_type(), DataType::Struct(expected));
    }
}
