//! The example file: the table of keys as a commented TOML file.

use std::fmt::{self, Write};

use super::keys::{Fallback, KEYS, Key, SECTIONS};

const HEAD: &str = "\
# The configuration of Isobar: every key, with its default. Copy this file to `isobar.toml` and remove
# the `#` from what you change. `isobar config show` prints each value in force and where it came from.
#
# A key can also be set by `--set section.key=value` and by a variable, ISOBAR__SECTION__KEY or the legacy
# name given below in brackets, in the environment or in a file `.env`. A flag beats a variable,
# ISOBAR__… beats the legacy name, the environment beats `.env`, and all of them beat this file.
# Secrets can stand in files of their own: append _FILE to the variable and give it the path.
# Durations are written \"10s\", \"5m\" or \"1h 30m\", sizes \"64MiB\" or \"1GiB\".
";

/// The text of `isobar.example.toml`.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    for (section, doc) in SECTIONS {
        write_section(&mut text, section, doc).expect("writing to a string cannot fail");
    }
    text
}

fn write_section(text: &mut String, section: &str, doc: &str) -> fmt::Result {
    writeln!(text, "\n# {doc}\n[{section}]")?;
    for key in KEYS.iter().filter(|key| key.section() == section) {
        write_key(text, key)?;
    }
    Ok(())
}

fn write_key(text: &mut String, key: &Key) -> fmt::Result {
    let older = key
        .older
        .map(|name| format!(" [{name}]"))
        .unwrap_or_default();
    for line in format!("{}{older}", key.doc).lines() {
        writeln!(text, "# {line}")?;
    }
    if let Fallback::Unset(_) = key.fallback {
        writeln!(text, "# Not set by default; an example:")?;
    }
    writeln!(text, "#{} = {}", key.leaf(), key.expected().notation())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::layers::Layers;
    use crate::{FILE_NAME, Origin, Setting, Sources, settings};

    #[test]
    fn the_example_file_is_the_table_of_keys() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../isobar.example.toml");
        let written = fs::read_to_string(&path).unwrap();
        let table = example();
        // Line by line, so that a failure prints the line and not both texts.
        for (table, file) in table.lines().zip(written.lines()) {
            assert_eq!(table, file, "the table of keys and {}", path.display());
        }
        assert_eq!(
            table.len(),
            written.len(),
            "the table of keys and {}",
            path.display()
        );
    }

    /// Each value by itself: not all keys go together.
    fn settings_of(text: &str) -> Vec<Setting> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE_NAME), text).unwrap();
        let sources = Sources {
            file: None,
            overrides: Vec::new(),
            variables: BTreeMap::new(),
            directory: directory.path().to_owned(),
        };
        let Layers {
            mut values,
            problems,
        } = Layers::read(&sources);
        assert!(problems.is_empty(), "{problems:?}");
        values.fill();
        settings(&values)
    }

    #[test]
    fn the_example_as_it_stands_sets_nothing() {
        for setting in settings_of(&example()) {
            assert_eq!(setting.origin, Origin::Default, "{}", setting.key);
        }
    }

    #[test]
    fn uncommented_it_sets_every_key_to_its_default_or_to_an_example() {
        let is_key = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
        let uncommented: Vec<String> = example()
            .lines()
            .map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| is_key(rest))
                    .unwrap_or(line)
                    .to_owned()
            })
            .collect();
        let set = settings_of(&uncommented.join("\n"));
        let defaults = settings_of("");
        for ((setting, default), key) in set.iter().zip(&defaults).zip(KEYS) {
            assert!(
                matches!(&setting.origin, Origin::File { path, .. } if path == Path::new(FILE_NAME)),
                "{} is not in the example",
                key.name
            );
            match key.fallback {
                Fallback::Value(_) => assert_eq!(setting.value, default.value, "{}", key.name),
                Fallback::Unset(_) => assert_eq!(
                    (setting.value.is_some(), default.value.is_some()),
                    (true, false)
                ),
            }
        }
        assert_eq!(set.len(), KEYS.len());
    }

    #[test]
    fn every_line_fits_a_screen() {
        for line in example().lines() {
            assert!(line.chars().count() <= 120, "{line}");
        }
    }
}
