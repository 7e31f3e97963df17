//! A query file: a SELECT that describes itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use datafusion::common::ScalarValue;
use engine::described;
use engine::sql::{self, Statement};
use lake::{Location, PartitionKey};
use serde::Deserialize;

use super::schedule::Schedule;
use crate::error::Error;
use crate::outputs::Outputs;

/// The name of a query: its path below the queries directory without `.sql`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryName(pub(crate) String);

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
    /// The name that users run it by.
    pub name: QueryName,
    /// Where the file lies.
    pub path: PathBuf,
    /// Its `--!` lines.
    pub header: Header,
    /// The SELECT below the header.
    pub statement: Statement,
    /// The whole text of the file, header lines included.
    pub text: String,
}

/// The header of a query file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// What a row is, in one sentence.
    pub description: String,
    /// Parameters by name, bound as `$name`.
    #[serde(default)]
    pub params: BTreeMap<String, ParameterType>,
    /// When the query is to run by itself; `None` leaves it to the command line.
    pub schedule: Option<Schedule>,
    /// The column that outputs are partitioned by, and the parameter that selects one partition.
    pub partition: Option<String>,
    /// Where the rows are written.
    #[serde(default)]
    pub output: Outputs,
    /// What is checked before the rows are published.
    #[serde(default)]
    pub check: Checks,
}

/// The type of a parameter.
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

/// What must hold of the rows before they are published.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// Columns in which a null fails the run.
    #[serde(default)]
    pub not_null: Vec<String>,
}

impl QueryFile {
    /// Reads the file at `path`, named `name`.
    pub(crate) fn read(name: QueryName, path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| engine::Error::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        let described = described::read::<Header>(path, text)?;
        let statement = sql::parse_one(&described.text, &path.display().to_string())?;
        let file = Self {
            name,
            path: path.to_owned(),
            header: described.header,
            statement,
            text: described.text,
        };
        file.check_partition()?;
        file.check_schedule()?;
        file.check_parameters()?;
        file.check_outputs()?;
        Ok(file)
    }

    /// Partitions are days: runs select them by date, and directories are named after them.
    fn check_partition(&self) -> Result<(), Error> {
        let Some(partition) = &self.header.partition else {
            return Ok(());
        };
        let message = match self.header.params.get(partition) {
            Some(ParameterType::Date) => return Ok(()),
            Some(_) => format!(
                "partition \"{partition}\" is a parameter of another type than date; partitions are days: write {partition} = \"date\" in params, or leave partition out"
            ),
            None => format!(
                "partition \"{partition}\" is not a parameter; add it to params, for instance {{ {partition} = \"date\" }}"
            ),
        };
        Err(self.wrong("partition", message))
    }

    fn check_schedule(&self) -> Result<(), Error> {
        let fault = self.header.schedule.as_ref().and_then(Schedule::fault);
        fault.map_or(Ok(()), |message| Err(self.wrong("schedule", message)))
    }

    fn check_parameters(&self) -> Result<(), Error> {
        let declared = &self.header.params;
        let used = self.statement.parameters();
        let message = if let Some(name) = used.iter().find(|name| !declared.contains_key(*name)) {
            format!("the statement uses ${name}, which params does not declare")
        } else if let Some(name) = declared.keys().find(|name| !used.contains(*name)) {
            format!("params declares \"{name}\", but the statement does not use ${name}")
        } else {
            return Ok(());
        };
        Err(self.wrong("params", message))
    }

    fn check_outputs(&self) -> Result<(), Error> {
        let outputs = &self.header.output;
        if let Some(table) = &outputs.table {
            table.table_name()?;
        }
        let fault = outputs.fault(self.header.partition.as_deref());
        fault.map_or(Ok(()), |(key, message)| Err(self.wrong(key, message)))
    }

    /// The partition with this value of the partition parameter.
    pub(crate) fn partition_key(&self, value: Option<&ScalarValue>) -> PartitionKey {
        PartitionKey::of(self.header.partition.as_deref(), value)
    }

    /// The application id under which the log of the output table keeps the fingerprint of a
    /// partition.
    pub(crate) fn app_id(&self, key: &PartitionKey) -> String {
        format!("isobar/run/{}/{}", self.name, key.first())
    }

    /// The file of `output.jsonl` for one partition, below `base_path`; `None` without that output.
    pub(crate) fn jsonl_file(&self, base_path: &Location, key: &PartitionKey) -> Option<Location> {
        let output = self.header.output.jsonl.as_ref()?;
        let column = self.header.partition.as_ref()?;
        Some(output.location(base_path, column, key))
    }

    /// The error for rows of this query that an output cannot encode.
    pub(crate) fn encode_failed(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Encode {
            query: self.name.to_string(),
            source: source.into(),
        }
    }

    /// The error for what the header has under `key`.
    pub(crate) fn wrong(&self, key: &str, message: String) -> Error {
        let error = engine::Error::Header {
            path: self.path.clone(),
            line: described::line_of(&self.text, key),
            message,
        };
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::{QueryFile, QueryName};

    fn error_of(text: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("q.sql");
        std::fs::write(&path, text).expect("written");
        QueryFile::read(QueryName("q".to_owned()), &path)
            .expect_err("it is wrong")
            .to_string()
    }

    #[test]
    fn a_partition_that_is_not_a_day_is_refused() {
        for declared in ["bigint", "text", "timestamp"] {
            let found = error_of(&format!(
                "--! description = \"a\"\n--! params = {{ n = \"{declared}\" }}\n--! partition = \"n\"\nSELECT $n AS n"
            ));
            assert!(found.contains("q.sql:3: partition \"n\""), "{found}");
            assert!(found.contains("n = \"date\""), "{found}");
        }
    }

    #[test]
    fn a_schedule_that_never_comes_is_refused() {
        let check = |schedule: &str, named: &str| {
            let found = error_of(&format!(
                "--! description = \"a\"\n--! schedule = {{ {schedule} }}\nSELECT 1"
            ));
            assert!(
                found.contains("q.sql:2: ") && found.contains(named),
                "{found}"
            );
        };
        for cron in [
            "a b c d e",
            "",
            "* * * *",
            "* * * * * *",
            "61 * * * *",
            "0 0 30 2 *",
        ] {
            check(&format!("cron = \"{cron}\""), &format!("\"{cron}\""));
        }
        for zone in ["Mars/Phobos", "", "+02:00"] {
            check(
                &format!("cron = \"* * * * *\", zone = \"{zone}\""),
                &format!("\"{zone}\""),
            );
        }
    }

    #[test]
    fn header_error_names_its_line() {
        let check = |header: &str, statement: &str, line: usize| {
            let found = error_of(&format!("--! description = \"a\"\n{header}\n{statement}"));
            assert!(found.contains(&format!("q.sql:{line}: ")), "{found}");
        };
        check("--!\n--! partition = \"dt\"", "SELECT 1", 3);
        check("--! params = { x = \"text\" }", "SELECT 1", 2);
        check("--! [params]\n--! x = \"text\"", "SELECT 1", 2);
        check("--! params = {}", "SELECT $x", 2);
        check("-- none", "SELECT $x", 1);
        check("--! [output.jsonl]\n--! file = \"a.jsonl\"", "SELECT 1", 2);
        check(
            "--! params = { dt = \"date\" }\n--! partition = \"dt\"\n--! [output.jsonl]\n--! file = \"a/b\"",
            "SELECT $dt AS dt",
            5,
        );
        let table = "--! [output.table]\n--! name = \"a\"\n";
        let hbase = "--! [output.hbase]\n--! table = \"ns:t\"\n--! row_key = [\"id\"]";
        check(hbase, "SELECT 1 AS id", 2);
        check(
            &format!("{table}{}", hbase.replace("ns:t", "a b")),
            "SELECT 1 AS id",
            4,
        );
        check(
            &format!("{table}{}", hbase.replace("\"id\"", "")),
            "SELECT 1 AS id",
            4,
        );
        let partition = "--! params = { dt = \"date\" }\n--! partition = \"dt\"\n";
        check(
            &format!("{partition}{table}{hbase}"),
            "SELECT $dt AS dt, 1 AS id",
            6,
        );
    }
}
