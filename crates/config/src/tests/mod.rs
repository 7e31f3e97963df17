//! Loading as a whole, from files and an environment.

mod kafka;
mod layers;
mod places;
mod refusals;
mod secrets;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A directory of files and an environment, both empty at first.
struct Place {
    directory: TempDir,
    sources: Sources,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources {
            file: None,
            overrides: Vec::new(),
            variables: Default::default(),
            directory: directory.path().to_owned(),
        };
        Self { directory, sources }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources
            .variables
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.sources
            .overrides
            .push((key.to_owned(), value.to_owned()));
        self
    }

    fn config(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.file = Some(path.as_ref().to_owned());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The value of a key and where it came from, as `config show` prints them.
    fn shows(&self, key: &str) -> (String, String) {
        let settings = self.load().settings;
        let setting = settings
            .into_iter()
            .find(|setting| setting.key == key)
            .unwrap();
        (
            setting.value.unwrap_or_default(),
            setting.origin.to_string(),
        )
    }

    fn refused(&self) -> String {
        load(&self.sources).unwrap_err().to_string()
    }
}

#[track_caller]
fn check_shown(place: &Place, key: &str, value: &str, origin: &str) {
    assert_eq!(place.shows(key), (value.to_owned(), origin.to_owned()));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let place = Place::new()
        .variable("CITY", "L'Haÿ-les-Roses;\"Quoted\\\"")
        .variable("HDFS_URL", "http://nn:9870")
        .set("land.interval", "90s");
    let shown = place.load().settings;
    let lines = shown
        .iter()
        .filter_map(|setting| Some(format!("{} = {}\n", setting.key, setting.value.as_ref()?)));
    let again = Place::new()
        .file("isobar.toml", &lines.collect::<String>())
        .load()
        .settings;
    for (shown, again) in shown.iter().zip(&again) {
        assert_eq!(shown.value, again.value, "{}", shown.key);
    }
}
