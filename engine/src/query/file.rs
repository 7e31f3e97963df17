//! A query file: a SELECT that describes itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::header;
use crate::error::Error;
use crate::sql::{self, Statement};

/// The name of a query: its path below the queries directory without `.sql`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryName(pub(super) String);

impl QueryName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A query file, read and parsed.
#[derive(Clone, Debug)]
pub struct QueryFile {
    pub name: QueryName,
    pub path: PathBuf,
    pub header: Header,
    pub statement: Statement,
    /// The text as it stands in the file.
    pub text: String,
}

/// What a query file says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// One sentence: what a row is.
    pub description: String,
    /// Parameters by name, bound as `$name`.
    #[serde(default)]
    pub params: BTreeMap<String, ParameterType>,
    pub schedule: Option<Schedule>,
    /// The column that outputs are partitioned by, and the parameter that selects one partition.
    pub partition: Option<String>,
    #[serde(default)]
    pub output: Outputs,
    #[serde(default)]
    pub check: Checks,
}

/// What a parameter's text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    Date,
    Timestamp,
    Bigint,
    Double,
    Text,
    Boolean,
}

/// When the query is run by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields: minute, hour, day, month, weekday.
    pub cron: String,
    /// IANA name of the zone that the fields are read in.
    pub zone: Option<String>,
}

/// Where the rows of a run go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    pub table: Option<TableOutput>,
    pub jsonl: Option<JsonlOutput>,
    pub hbase: Option<HbaseOutput>,
}

/// A Delta table in the lake.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableOutput {
    pub name: String,
}

/// A file of JSON Lines in the partition's directory below `export.base_path`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonlOutput {
    pub file: String,
}

/// A table of HBase.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HbaseOutput {
    pub table: String,
    /// Columns joined by `#`.
    pub row_key: Vec<String>,
}

/// What must hold of the rows before they are published.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    #[serde(default)]
    pub not_null: Vec<String>,
}

impl QueryFile {
    /// Reads the file at `path`, named `name`.
    pub(super) fn read(name: QueryName, path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        let described = header::read::<Header>(path, text)?;
        let statement = sql::parse_one(&described.text, &path.display().to_string())?;
        let file = Self {
            name,
            path: path.to_owned(),
            header: described.header,
            statement,
            text: described.text,
        };
        file.check_header()?;
        Ok(file)
    }

    fn check_header(&self) -> Result<(), Error> {
        let wrong = |message: String| {
            Err(Error::Header {
                path: self.path.clone(),
                line: 1,
                message,
            })
        };
        if let Some(partition) = &self.header.partition
            && !self.header.params.contains_key(partition)
        {
            return wrong(format!(
                "partition \"{partition}\" is not a parameter; add it to params, for instance {{ {partition} = \"date\" }}"
            ));
        }
        let used = self.statement.parameters();
        if let Some(undeclared) = used
            .iter()
            .find(|name| !self.header.params.contains_key(*name))
        {
            return wrong(format!(
                "the statement uses ${undeclared}, which params does not declare"
            ));
        }
        if let Some(unused) = self.header.params.keys().find(|name| !used.contains(*name)) {
            return wrong(format!(
                "params declares \"{unused}\", but the statement does not use ${unused}"
            ));
        }
        if self.header.output.jsonl.is_some() && self.header.partition.is_none() {
            return wrong("output.jsonl needs a partition to know its directory".to_owned());
        }
        if let Some(JsonlOutput { file }) = &self.header.output.jsonl
            && (file.is_empty() || file.contains(['/', ':']) || file.starts_with('.'))
        {
            return wrong(format!(
                "output.jsonl.file is \"{file}\"; expected a plain file name"
            ));
        }
        if let Some(table) = &self.header.output.table {
            table.name.parse::<crate::lake::TableName>()?;
        }
        Ok(())
    }
}
