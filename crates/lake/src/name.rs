//! The name of a table.

use std::fmt;
use std::str::FromStr;

/// The table of refused messages, which landings create. No query may fill it.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of a table: its directory in the lake and its name in SQL.
///
/// * lower-case letters, digits and `_` only, so that it is the same in paths and in SQL
/// * starts with a letter, so that no directory that tools hide is a table
/// * at most 128 bytes
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName(String);

/// The text is not the name of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{name}\" is not a table name; use lower-case letters, digits and `_`, a letter first, 128 at most"
)]
pub struct NotATableName {
    name: String,
}

impl TableName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TableName {
    type Err = NotATableName;

    fn from_str(text: &str) -> Result<Self, NotATableName> {
        let fits = text.len() <= 128
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotATableName {
                name: text.to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TableName;

    #[test]
    fn names_are_the_same_in_paths_and_in_sql() {
        for good in ["weather", "a", "daily_weather_by_city", "t2"] {
            assert!(good.parse::<TableName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "Weather",
            "_log",
            "2t",
            "a-b",
            "a/b",
            "..",
            "a b",
            "é",
            &"a".repeat(129),
        ] {
            assert!(bad.parse::<TableName>().is_err(), "{bad}");
        }
    }
}
