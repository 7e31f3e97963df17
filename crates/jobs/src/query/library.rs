//! The directory of query files.

use std::path::{Path, PathBuf};

use super::file::{QueryFile, QueryName};
use super::owners;
use crate::error::Error;

/// The directory of the library that holds declarations of landed tables, not queries.
const TABLES: &str = "tables";

/// A name is suggested when its similarity, from 0 to 1, is at least this.
const SIMILARITY_MIN: f64 = 0.5;

/// All query files below one directory.
#[derive(Clone, Debug)]
pub struct Library {
    root: PathBuf,
}

/// The name of a query with its file, or with the error in it.
pub type CheckedQuery = (QueryName, Result<QueryFile, Error>);

impl Library {
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Names of all queries, in order.
    pub fn names(&self) -> Result<Vec<QueryName>, Error> {
        let mut names: Vec<_> = sql_files(&self.root)?
            .into_iter()
            .filter(|name| !name.starts_with("tables/"))
            .map(QueryName)
            .collect();
        names.sort();
        Ok(names)
    }

    /// Paths of the files that declare landed tables, in order.
    pub fn table_files(&self) -> Result<Vec<PathBuf>, Error> {
        let tables = self.root.join(TABLES);
        if !tables.is_dir() {
            return Ok(Vec::new());
        }
        let mut paths: Vec<_> = sql_files(&tables)?
            .into_iter()
            .map(|name| tables.join(format!("{name}.sql")))
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// The query called `name`.
    ///
    /// # Errors
    /// When there is none (the nearest name is suggested), its file has an error, or another query
    /// has one of its outputs.
    pub fn query(&self, name: &str) -> Result<QueryFile, Error> {
        let name = self.find(name)?;
        let mut queries = self.queries()?.into_iter();
        match queries.find(|(known, _)| *known == name) {
            Some((_, query)) => query,
            None => self.read(name),
        }
    }

    /// All queries, in order. An error in one does not affect the others.
    pub fn queries(&self) -> Result<Vec<CheckedQuery>, Error> {
        let tables = self.table_files()?;
        let names = self.names()?.into_iter();
        let read: Vec<_> = names.map(|name| (name.clone(), self.read(name))).collect();
        let valid: Vec<_> = read
            .iter()
            .filter_map(|(_, query)| query.as_ref().ok())
            .cloned()
            .collect();
        let checked = read.into_iter().map(|(name, query)| {
            let query = query.and_then(|query| {
                owners::check(&query, &valid, &tables)?;
                Ok(query)
            });
            (name, query)
        });
        Ok(checked.collect())
    }

    fn read(&self, name: QueryName) -> Result<QueryFile, Error> {
        let path = self.root.join(format!("{name}.sql"));
        QueryFile::read(name, &path)
    }

    /// The full name of the query called `name`; its file is not read.
    ///
    /// # Errors
    /// When there is none; the nearest name is suggested.
    pub fn find(&self, name: &str) -> Result<QueryName, Error> {
        let names = self.names()?;
        let bare = name.strip_suffix(".sql").unwrap_or(name);
        let Some(found) = names.iter().find(|known| known.as_str() == bare) else {
            let nearest = names
                .iter()
                .map(|known| (strsim::jaro_winkler(known.as_str(), bare), known))
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN);
            return Err(Error::NoSuchQuery {
                name: name.to_owned(),
                root: self.root.clone(),
                remedy: match nearest {
                    Some((_, nearest)) => format!("did you mean \"{nearest}\"?"),
                    None => "`isobar query list` shows what there is".to_owned(),
                },
            });
        };
        Ok(found.clone())
    }
}

/// Names of all `.sql` files below `root`, without the ending, with `/` between directories.
fn sql_files(root: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((directory, prefix)) = open.pop() {
        let failed = |source| engine::Error::ReadFile {
            path: directory.clone(),
            source,
        };
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if entry.path().is_dir() {
                open.push((entry.path(), format!("{prefix}{name}/")));
            } else if let Some(stem) = name.strip_suffix(".sql") {
                names.push(format!("{prefix}{stem}"));
            }
        }
    }
    Ok(names)
}
