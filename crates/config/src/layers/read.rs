//! Reads each layer, from the strongest down.
//!
//! Flags beat `ISOBAR__SECTION__KEY` variables, which beat the legacy pipeline's, which beat the
//! `.env` file with either kind of name, which beats the TOML file. Layers are read from the
//! strongest down, so that a key keeps what it was given first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Layers;
use super::dotenv;
use super::file;
use super::sources::Sources;
use super::variables::{CONFIG_VARIABLE, FILE_SUFFIX, is_ours};
use crate::FILE_NAME;
use crate::error::{NamedBy, Problem};
use crate::keys::{KEYS, Key, VARIABLE_PREFIX};
use crate::origin::Origin;
use crate::suggest::{self, Hint};
use crate::value::Raw;

impl Layers {
    pub(crate) fn read(sources: &Sources) -> Self {
        let mut layers = Self::default();
        layers.flags(&sources.overrides);
        let process = Variables {
            values: sources.variables.clone(),
            origin: |name| Origin::Variable { name },
        };
        layers.variables(&process, &sources.directory);
        let dotenv = layers.dotenv(&sources.directory);
        layers.variables(&dotenv, &sources.directory);
        if let Some((path, named)) = config_file(sources, &[&process, &dotenv]) {
            layers.file(&sources.directory, path, named);
        }
        layers
    }

    fn flags(&mut self, overrides: &[(String, String)]) {
        // Of two flags for one key the later counts, as on every command line.
        for (name, value) in overrides.iter().rev() {
            match Key::named(name) {
                Some(key) => self.offer(key, Raw::Text(value), Origin::Flag),
                None => self.problems.push(Problem::UnknownKey {
                    origin: Origin::Flag,
                    key: name.clone(),
                    hint: suggest::key(name),
                }),
            }
        }
    }

    fn variables(&mut self, variables: &Variables, directory: &Path) {
        for key in KEYS {
            let own = key.variable();
            for name in [Some(own.as_str()), key.older].into_iter().flatten() {
                self.variable(key, name, variables, directory);
            }
        }
        self.unknown_variables(variables);
    }

    fn variable(&mut self, key: &'static Key, name: &str, variables: &Variables, directory: &Path) {
        let file = key.is_secret().then(|| format!("{name}{FILE_SUFFIX}"));
        let held_in_file = file.as_deref().and_then(|file| variables.get(file));
        match (variables.get(name), held_in_file) {
            (Some((_, first)), Some((_, second))) => {
                self.problems.push(Problem::SetTwice {
                    key: key.name,
                    first,
                    second,
                });
            }
            (Some((value, origin)), None) => self.offer(key, Raw::Text(value), origin),
            (None, Some((path, origin))) if !self.values.is_set(key) => {
                match read_secret(key, directory, path, &origin) {
                    Ok(secret) => self.offer(key, Raw::Text(&secret), origin),
                    Err(problem) => self.problems.push(problem),
                }
            }
            (None, _) => {}
        }
    }

    fn unknown_variables(&mut self, variables: &Variables) {
        let known: BTreeSet<String> = KEYS.iter().flat_map(own_variables).collect();
        for name in variables.values.keys() {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
                continue;
            };
            if known.contains(name) {
                continue;
            }
            let hint = match suggest::key(&rest.to_lowercase().replacen("__", ".", 1)) {
                Hint::Nearest(near) => Hint::Nearest(Key::named(&near).map_or(near, Key::variable)),
                others @ Hint::OneOf(_) => others,
            };
            let origin = (variables.origin)(name.clone());
            self.problems
                .push(Problem::UnknownVariable { origin, hint });
        }
    }

    /// Reads the `.env` file, if there is one.
    fn dotenv(&mut self, directory: &Path) -> Variables {
        let mut values = BTreeMap::new();
        let path = PathBuf::from(".env");
        match fs::read_to_string(directory.join(&path)) {
            Ok(text) => self.assignments(&text, &mut values),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                self.problems.push(Problem::ReadFile {
                    path,
                    named: NamedBy::Convention,
                    source,
                });
            }
        }
        Variables {
            values,
            origin: |name| Origin::Dotenv { name },
        }
    }

    fn assignments(&mut self, text: &str, values: &mut BTreeMap<String, String>) {
        for line in dotenv::parse(text) {
            match line {
                Ok(assignment) => match assignment.value {
                    Ok(value) => {
                        values.insert(assignment.name, value);
                    }
                    Err(fault) if is_ours(&assignment.name) => {
                        self.problems.push(Problem::DotenvLine {
                            line: assignment.line,
                            fault,
                        });
                    }
                    Err(_) => {}
                },
                Err((line, fault)) => self.problems.push(Problem::DotenvLine { line, fault }),
            }
        }
    }

    fn file(&mut self, directory: &Path, path: PathBuf, named: NamedBy) {
        let text = match fs::read_to_string(directory.join(&path)) {
            Ok(text) => text,
            Err(source) => {
                return self.problems.push(Problem::ReadFile {
                    path,
                    named,
                    source,
                });
            }
        };
        file::read(&path, &text, self);
    }
}

/// Variables of one place, the process or the `.env` file.
struct Variables {
    values: BTreeMap<String, String>,
    origin: fn(String) -> Origin,
}

impl Variables {
    /// A variable that is set. Compose files pass on an unset variable as an empty one, so empty is
    /// unset.
    fn get(&self, name: &str) -> Option<(&str, Origin)> {
        let value = self.values.get(name).filter(|value| !value.is_empty())?;
        Some((value, (self.origin)(name.to_owned())))
    }
}

/// The `ISOBAR__` variables that set a key.
fn own_variables(key: &Key) -> Vec<String> {
    let name = key.variable();
    let file = key.is_secret().then(|| format!("{name}{FILE_SUFFIX}"));
    std::iter::once(name).chain(file).collect()
}

fn read_secret(
    key: &Key,
    directory: &Path,
    path: &str,
    origin: &Origin,
) -> Result<String, Problem> {
    let text = fs::read_to_string(directory.join(path)).map_err(|source| Problem::ReadSecret {
        origin: origin.clone(),
        key: key.name,
        path: PathBuf::from(path),
        source,
    })?;
    // Editors and `echo` end a file with a newline that is no part of the secret.
    let unended = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'));
    let secret = unended.unwrap_or(&text);
    if secret.trim().is_empty() {
        return Err(Problem::BlankSecret {
            origin: origin.clone(),
            key: key.name,
            path: PathBuf::from(path),
        });
    }
    Ok(secret.to_owned())
}

/// The TOML file to read: the one that was named, else the usual one if it exists.
fn config_file(sources: &Sources, variables: &[&Variables]) -> Option<(PathBuf, NamedBy)> {
    if let Some(path) = &sources.file {
        return Some((path.clone(), NamedBy::Flag));
    }
    if let Some((path, origin)) = variables
        .iter()
        .find_map(|variables| variables.get(CONFIG_VARIABLE))
    {
        return Some((PathBuf::from(path), NamedBy::Variable(origin)));
    }
    let usual = PathBuf::from(FILE_NAME);
    // Whatever is there counts: a file that cannot be read is an error, not a file that is not
    // there.
    let exists = fs::symlink_metadata(sources.directory.join(&usual)).is_ok();
    exists.then_some((usual, NamedBy::Convention))
}
