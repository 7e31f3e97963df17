//! The demo's directory: a configuration of its own and a copy of the repository's queries.
//!
//! Existing files stay unchanged, because users edit them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use config::{self, FILE_NAME, Sources};

use crate::app::App;

/// The repository's query files by their paths below `queries/`.
const QUERIES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/queries.rs"));

/// Creates the missing files in `directory`, and loads its configuration.
pub(super) fn prepare(directory: &Path, app: &App) -> anyhow::Result<App> {
    let path = directory.join(FILE_NAME);
    // Arguments may change where the demo serves and what it logs. The directory decides where the
    // tables are.
    let allowed = |key: &str| key.starts_with("serve.") || key.starts_with("log.");
    if let Some((key, _)) = app.overrides.iter().find(|(key, _)| !allowed(key)) {
        bail!(
            "the demo has a configuration of its own: set {key} in {} instead of by --set",
            path.display()
        );
    }
    for (name, text) in QUERIES {
        write_new(&directory.join("queries").join(name), text)?;
    }
    write_new(&path, &configuration(directory))?;
    let sources = Sources {
        file: Some(PathBuf::from(FILE_NAME)),
        overrides: app.overrides.clone(),
        variables: BTreeMap::new(),
        directory: directory.to_owned(),
    };
    let loaded = config::load(&sources)?;
    Ok(App::new(loaded, &sources, app.progress))
}

/// The configuration of the demo. Its paths are absolute, so that it works from any directory.
fn configuration(directory: &Path) -> String {
    let quoted_path = |name: &str| {
        let path = directory.join(name).display().to_string();
        // A JSON string is a TOML string.
        serde_json::Value::from(path).to_string()
    };
    format!(
        "\
# Written by `isobar demo`. `isobar config example` prints every key.
[lake]
url = {}
[export]
base_path = {}
[queries]
path = {}
",
        quoted_path("lake"),
        quoted_path("weather"),
        quoted_path("queries")
    )
}

/// Writes a file unless there is one.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(path);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(path, text))
        .with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::QUERIES;

    #[test]
    fn binary_contains_the_queries() {
        for name in ["tables/weather.sql", super::super::QUERY] {
            let found = QUERIES.iter().find(|(path, _)| path.starts_with(name));
            assert!(
                found.is_some_and(|(_, text)| text.contains("SELECT")),
                "{name}"
            );
        }
    }
}
