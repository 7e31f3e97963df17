//! What a configuration is read from.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use super::variables::is_ours;
use crate::error::{Error, Problem, Problems};

/// What a configuration is read from; a plain value, so that tests bring their own environment.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file given by `--config`.
    pub file: Option<PathBuf>,
    /// `key=value` pairs given by `--set`; of two for one key the later counts.
    pub overrides: Vec<(String, String)>,
    /// The variables of the process.
    pub variables: BTreeMap<String, String>,
    /// Where `.env` and `isobar.toml` are looked for and relative paths begin; absolute.
    pub directory: PathBuf,
}

impl Sources {
    /// Takes variables and working directory from this process.
    pub fn from_process(
        file: Option<PathBuf>,
        overrides: Vec<(String, String)>,
    ) -> Result<Self, Error> {
        let directory = env::current_dir().map_err(|source| Error::WorkingDirectory { source })?;
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the environment"
        )]
        let variables = readable(env::vars_os())?;
        Ok(Self {
            file,
            overrides,
            variables,
            directory,
        })
    }
}

/// Leaves out what is not UTF-8; that is an error only in a variable that means something here.
fn readable(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut readable = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                readable.insert(name, value);
            }
            Err(_) if is_ours(&name) => problems.push(Problem::NotUnicode { name }),
            Err(_) => {}
        }
    }
    if problems.is_empty() {
        Ok(readable)
    } else {
        Err(Error::Refused {
            problems: Problems(problems),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn only_our_own_variables_must_be_utf_8() {
        let broken = || OsString::from_vec(vec![b'a', 0xff]);
        let read = |name: &str| {
            let variables = [
                (name.into(), broken()),
                (broken(), "x".into()),
                ("CITY".into(), "Paris".into()),
            ];
            readable(variables.into_iter()).map_err(|error| error.to_string())
        };
        assert_eq!(
            read("LESSCHARSET").unwrap(),
            BTreeMap::from([("CITY".to_owned(), "Paris".to_owned())])
        );
        for name in [
            "HDFS_URL",
            "POSTGRES_PASSWORD_FILE",
            "ISOBAR__LAKE__URL",
            "ISOBAR_CONFIG",
        ] {
            assert_eq!(
                read(name).unwrap_err(),
                format!("variable {name} is not UTF-8")
            );
        }
    }
}
