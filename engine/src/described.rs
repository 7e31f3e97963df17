//! The `--!` lines at the top of a SQL file: TOML that describes the file.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::Error;

const PREFIX: &str = "--!";

/// A SQL file and its parsed header.
#[derive(Clone, Debug)]
pub struct Described<H> {
    /// The parsed `--!` lines.
    pub header: H,
    /// The whole text, header lines included. They are comments to SQL, so positions in the text
    /// are positions in the file.
    pub text: String,
}

/// Reads the header of `text`, which came from `path`.
///
/// # Errors
/// When there is no header, it is not TOML, has an unknown key or a value of the wrong kind; the
/// error names the file and the line.
pub fn read<H: DeserializeOwned>(path: &Path, text: String) -> Result<Described<H>, Error> {
    // Each line keeps its number, so that a position in the TOML is a position in the file.
    let mut toml = String::new();
    let mut found = false;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(PREFIX) {
            toml.push_str(rest.strip_prefix(' ').unwrap_or(rest));
            found = true;
        } else if !line.trim().is_empty() && !line.trim_start().starts_with("--") {
            break;
        }
        toml.push('\n');
    }
    if !found {
        return Err(Error::NoHeader {
            path: path.to_owned(),
        });
    }
    let header = toml::from_str(&toml).map_err(|error| Error::Header {
        path: path.to_owned(),
        line: error
            .span()
            .map_or(1, |span| toml[..span.start].matches('\n').count() + 1),
        message: error.message().to_owned(),
    })?;
    Ok(Described { header, text })
}

/// The line of `text` on which the header has `key`, a key or a section in brackets; 1 without such
/// a line.
pub fn line_of(text: &str, key: &str) -> usize {
    let has_key = |line: &str| {
        let rest = line.strip_prefix(PREFIX).map(str::trim_start);
        let rest = rest.and_then(|rest| {
            // A section `[params]` counts as the key `params`.
            rest.strip_prefix(key)
                .or_else(|| rest.strip_prefix('[')?.strip_prefix(key))
        });
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    text.lines().position(has_key).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::read;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Header {
        description: String,
        #[serde(default)]
        params: toml::Table,
    }

    #[test]
    fn header_lines_are_toml() {
        let text = "--! description = \"a\"\n-- a comment\n--! [params]\n--! dt = \"date\"\nSELECT 1\n--! x = 1";
        let read = read::<Header>(Path::new("q.sql"), text.to_owned()).expect("a header");
        assert_eq!(read.header.description, "a");
        assert_eq!(read.header.params["dt"].as_str(), Some("date"));
        assert_eq!(read.text, text);
    }

    #[test]
    fn header_error_names_file_and_line() {
        let error_of = |text: &str| {
            read::<Header>(Path::new("q.sql"), text.to_owned())
                .expect_err("wrong")
                .to_string()
        };
        assert!(error_of("SELECT 1").contains("\"q.sql\" has no header"));
        let unknown = error_of("--! description = \"a\"\n--! shedule = 1\n");
        assert!(
            unknown.contains("q.sql:2") && unknown.contains("shedule"),
            "{unknown}"
        );
        assert!(error_of("--! description = \n").contains("q.sql:1"));
    }
}
