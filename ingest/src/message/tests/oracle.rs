//! An oracle for the decoder: `serde_json` reads a message, and a few plain rules validate the
//! result.
//!
//! `serde_json` alone is laxer than the decoder: it accepts duplicate keys (found here, because
//! members are kept as a list), 128 levels, strings of any length, and numbers that underflow to
//! zero.

use std::fmt;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::message::shape::{Declared, Kind, Shape};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Boolean(bool),
    /// As a double, and as an integer if it is one.
    Number(f64, Option<i64>),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => {
                1 + members
                    .iter()
                    .map(|(_, value)| value.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }

    pub(super) fn has_duplicate_keys(&self) -> bool {
        match self {
            Self::List(items) => items.iter().any(Self::has_duplicate_keys),
            Self::Object(members) => {
                let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
                keys.sort_unstable();
                keys.windows(2).any(|pair| pair[0] == pair[1])
                    || members.iter().any(|(_, value)| value.has_duplicate_keys())
            }
            _ => false,
        }
    }

    fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

/// Whether the value of every declared field has its declared type.
pub(super) fn message_fits(shape: &Shape, message: &Node) -> bool {
    let fields = &mut shape.fields.iter();
    matches!(message, Node::Object(_))
        && fields.all(|(name, declared)| fits(declared, message.member(name)))
}

fn fits(declared: &Declared, node: Option<&Node>) -> bool {
    match (&declared.kind, node) {
        (_, None | Some(Node::Null)) => !declared.is_required(),
        (Kind::Boolean, Some(Node::Boolean(_)))
        | (Kind::Bigint, Some(Node::Number(_, Some(_))))
        | (Kind::Double, Some(Node::Number(..)))
        | (Kind::Text, Some(Node::Text(_)))
        | (Kind::Json, Some(_)) => true,
        (Kind::Object(shape), Some(node @ Node::Object(_))) => message_fits(shape, node),
        (Kind::List(element), Some(Node::List(items))) => {
            items.iter().all(|item| fits(element, Some(item)))
        }
        _ => false,
    }
}

/// Asserts that the row holds the values of the message.
pub(super) fn assert_row(shape: &Shape, rows: &dyn Array, row: usize, message: &Node) {
    let rows = rows.as_struct();
    for ((name, declared), column) in shape.fields.iter().zip(rows.columns()) {
        assert_value(
            declared,
            column.as_ref(),
            row,
            message.member(name).unwrap_or(&Node::Null),
        );
    }
}

fn assert_value(declared: &Declared, column: &dyn Array, row: usize, node: &Node) {
    assert_eq!(column.is_null(row), *node == Node::Null, "{node:?}");
    match (&declared.kind, node) {
        (_, Node::Null) => {}
        (Kind::Boolean, Node::Boolean(value)) => assert_eq!(column.as_boolean().value(row), *value),
        (Kind::Bigint, Node::Number(_, Some(value))) => {
            assert_eq!(column.as_primitive::<Int64Type>().value(row), *value);
        }
        (Kind::Double, Node::Number(value, _)) => {
            // Without its feature `float_roundtrip`, serde_json may miss the nearest double.
            // The tests of numbers show that the decoder never does.
            let found = column.as_primitive::<Float64Type>().value(row);
            assert!(
                (found - value).abs() <= value.abs() * 4.0 * f64::EPSILON,
                "{found} is not {value}"
            );
        }
        (Kind::Text, Node::Text(value)) => assert_eq!(column.as_string::<i32>().value(row), value),
        (Kind::Json, node) => {
            let text = column.as_string::<i32>().value(row);
            assert_eq!(text, text.trim());
            assert_eq!(
                &serde_json::from_str::<Node>(text).expect("kept as it was"),
                node
            );
        }
        (Kind::Object(shape), node @ Node::Object(_)) => assert_row(shape, column, row, node),
        (Kind::List(element), Node::List(items)) => {
            let list = column.as_list::<i32>().value(row);
            assert_eq!(list.len(), items.len());
            for (index, item) in items.iter().enumerate() {
                assert_value(element, list.as_ref(), index, item);
            }
        }
        (kind, node) => panic!("{node:?} was taken for {kind:?}"),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as f64, Some(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value as f64, i64::try_from(value).ok()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        let whole = value.fract() == 0.0 && value.abs() < 9e18;
        Ok(Node::Number(value, whole.then_some(value as i64)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Node::Object(object))
    }
}
