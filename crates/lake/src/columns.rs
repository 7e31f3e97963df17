//! Column names that every reader of Delta tables accepts.
//!
//! Spark, Trino and Hive refuse a table with other column names unless it has column mapping, so
//! Isobar does not create one.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema};

/// Characters that Delta forbids in column names, inside structs too.
const FORBIDDEN: &str = " ,;{}()\n\t=";

/// The longest column name, in characters, that catalogs of other engines accept.
const LENGTH_MAX: usize = 255;

/// The first unusable column name of `schema`, as text that follows the name of the table in a
/// message.
pub fn misnamed(schema: &Schema) -> Option<String> {
    in_fields(schema.fields())
}

fn in_fields<'a>(fields: impl IntoIterator<Item = &'a std::sync::Arc<Field>>) -> Option<String> {
    let mut known: HashMap<String, &str> = HashMap::new();
    for field in fields {
        let name = field.name();
        if let Some(fault) = fault(name) {
            return Some(format!(
                "column {name:?} {fault}, which other readers refuse; give it another name with AS"
            ));
        }
        if let Some(other) = known.insert(name.to_lowercase(), name) {
            return Some(format!(
                "columns \"{other}\" and \"{name}\" differ by capitals only, and other readers take them for one; give one of them another name with AS"
            ));
        }
        if let Some(fault) = inside(field.data_type()) {
            return Some(fault);
        }
    }
    None
}

fn fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("has no name".to_owned());
    }
    let refused = name
        .chars()
        .find(|c| FORBIDDEN.contains(*c) || c.is_control());
    if let Some(refused) = refused {
        return Some(format!("has {refused:?} in its name"));
    }
    let length = name.chars().count();
    (length > LENGTH_MAX)
        .then(|| format!("has a name of {length} characters, over the limit of {LENGTH_MAX}"))
}

fn inside(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Struct(fields) => in_fields(fields),
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            inside(field.data_type())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::misnamed;

    fn of(names: &[&str]) -> Option<String> {
        let fields = names.iter();
        let fields = fields.map(|name| Field::new(*name, DataType::Int64, true));
        misnamed(&Schema::new(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn a_name_that_delta_forbids_is_refused() {
        for name in [
            "",
            " ",
            "wind speed",
            "a,b",
            "a;b",
            "{a}",
            "f(x)",
            "a\nb",
            "a\tb",
            "a=b",
            "a\u{0}",
        ] {
            let found = of(&["fine", name]);
            assert!(found.is_some_and(|found| found.contains("AS")), "{name:?}");
        }
        assert!(of(&["x".repeat(256).as_str()]).is_some());
    }

    #[test]
    fn a_name_that_delta_takes_is_fine() {
        let names = [
            "a.b",
            "$v$",
            "wind-speed",
            "Größe°",
            "it's",
            "select",
            "1h",
            "say\"hi\"",
            "100%",
            "🌡",
            "UPPER",
            "a/b",
        ];
        assert_eq!(of(&names), None);
        assert_eq!(of(&["x".repeat(255).as_str()]), None);
    }

    #[test]
    fn names_that_differ_by_capitals_only_are_refused() {
        let found = of(&["Größe", "GRÖSSE", "größe"]);
        assert!(found.is_some_and(|found| found.contains("\"größe\"")));
    }

    #[test]
    fn names_inside_structs_count_too() {
        let inner = DataType::Struct(vec![Field::new("a b", DataType::Int64, true)].into());
        let list = DataType::new_list(inner, true);
        assert!(misnamed(&Schema::new(vec![Field::new("x", list, true)])).is_some());
    }
}
