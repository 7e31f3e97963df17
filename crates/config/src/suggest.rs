//! What an error offers instead of a wrong name.

use std::fmt;

use super::keys::{KEYS, Key, SECTIONS};
use super::nearest::nearest;

/// What an error offers instead of a wrong name.
#[derive(Debug)]
pub(crate) enum Hint {
    Nearest(String),
    OneOf(Vec<&'static str>),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest(name) => write!(f, "did you mean \"{name}\"?"),
            Self::OneOf(names) => write!(f, "there are {}", names.join(", ")),
        }
    }
}

/// The key that `section.leaf` was perhaps meant to be, else those of its section, else the
/// sections.
pub(crate) fn key(name: &str) -> Hint {
    let (section, leaf) = name.split_once('.').unwrap_or(("", name));
    let of_section = || Key::of_section(section);
    // The section is right more often than not, so its own keys come first.
    let near = nearest(leaf, of_section().map(|key| key.leaf()))
        .map(|leaf| format!("{section}.{leaf}"))
        .or_else(|| nearest(name, KEYS.iter().map(|key| key.name)).map(str::to_owned))
        .or_else(|| elsewhere(leaf));
    match near {
        Some(near) => Hint::Nearest(near),
        None if of_section().next().is_some() => {
            Hint::OneOf(of_section().map(|key| key.name).collect())
        }
        None => sections(),
    }
}

/// A key of another section, if only one ends like this.
fn elsewhere(leaf: &str) -> Option<String> {
    let mut found = KEYS.iter().filter(|key| key.leaf() == leaf);
    found
        .next()
        .filter(|_| found.next().is_none())
        .map(|key| key.name.to_owned())
}

/// The section that was perhaps meant, else all of them.
pub(crate) fn section(name: &str) -> Hint {
    match nearest(name, SECTIONS.iter().map(|(section, _)| *section)) {
        Some(near) => Hint::Nearest(near.to_owned()),
        None => sections(),
    }
}

fn sections() -> Hint {
    Hint::OneOf(SECTIONS.iter().map(|(section, _)| *section).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_finds_the_one_that_was_meant() {
        let check = |name: &str, hint: &str| assert_eq!(key(name).to_string(), hint, "{name}");
        check("kafka.topik", "did you mean \"kafka.topic\"?");
        check("kafka.TOPIC", "did you mean \"kafka.topic\"?");
        check(
            "openweather.apikey",
            "did you mean \"openweather.api_key\"?",
        );
        check("openwether.city", "did you mean \"openweather.cities\"?");
        check("lak.url", "did you mean \"lake.url\"?");
        check("lake.base_path", "did you mean \"export.base_path\"?");
        check(
            "bootstrap_servers",
            "did you mean \"kafka.bootstrap_servers\"?",
        );
        check(
            "hdfs.namenode",
            "there are hdfs.url, hdfs.user, hdfs.timeout",
        );
    }

    #[test]
    fn a_wrong_section_finds_the_one_that_was_meant() {
        assert_eq!(section("exports").to_string(), "did you mean \"export\"?");
        assert!(
            section("spark")
                .to_string()
                .starts_with("there are time, lake, hdfs, export,")
        );
    }
}
