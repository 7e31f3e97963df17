//! Declarations of landed tables: the files below `queries/tables/`.
//!
//! A table is a SELECT over the messages of a topic; its header names the topic, the type of the
//! messages and what is implausible in them. The tables of one topic share one type, the union of
//! theirs, so that a message is decoded and validated once for all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use engine::described;
use engine::session::storable;
use lake::DEAD_LETTERS;
pub(crate) use lake::IDENTITY;
use lake::{TableName, TableSchema, misnamed};
use serde::Deserialize;

use crate::error::Error;
use crate::message::Shape;
use crate::select::{self, Refuse, message_columns};

/// Stands for the configured topic in a header.
const CONFIGURED_TOPIC: &str = "@kafka.topic";

/// All declared tables.
#[derive(Clone, Debug)]
pub struct Declarations {
    tables: Vec<Declaration>,
}

/// One declared table.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Name of the table in the lake.
    pub name: TableName,
    /// Topic whose messages become its rows.
    pub topic: String,
    /// Path of the table file.
    pub path: PathBuf,
    /// Columns, partition columns and description.
    pub schema: TableSchema,
    /// Rules of the table, in order.
    pub(crate) refusals: Vec<Refuse>,
    /// The SELECT.
    pub(crate) text: String,
    shape: Shape,
    observed_at: Option<String>,
    event_time_min: Option<DateTime<Utc>>,
}

/// The earliest plausible event time of a topic whose table files give none: 2000-01-01, seconds
/// since the epoch. Timestamps that a producer writes in seconds, and that are read as
/// milliseconds, are in January 1970.
const EVENT_TIME_MIN_S: i64 = 946_684_800;

/// A topic: the type of its messages, and its tables.
#[derive(Clone, Debug)]
pub(crate) struct TopicDeclaration {
    /// Name of the topic in Kafka.
    pub(crate) name: String,
    /// The union of the types that its tables declare.
    pub(crate) shape: Shape,
    /// Declared tables of the topic.
    pub(crate) tables: Vec<Declaration>,
    /// Path to the field of a message that has its own time in epoch seconds, which resolves the
    /// repeated hour in autumn.
    pub(crate) observed_at: Option<Vec<String>>,
    /// The earliest plausible event time; an earlier one comes from a wrong clock.
    pub(crate) event_time_min: Option<DateTime<Utc>>,
    /// Time zone of the days.
    pub(crate) zone: Tz,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    description: String,
    topic: String,
    partition: String,
    observed_at: Option<String>,
    event_time_min: Option<String>,
    message: toml::Table,
    #[serde(default)]
    refuse: Vec<Refuse>,
}

impl Declarations {
    /// Reads and plans the table files `paths`; `kafka_topic` is the configured topic.
    ///
    /// # Errors
    /// When a file is wrong, or two tables of a topic declare a field differently.
    pub async fn load(paths: &[PathBuf], kafka_topic: &str, zone: Tz) -> Result<Self, Error> {
        let mut headers = Vec::new();
        for path in paths {
            headers.push(read(path, kafka_topic)?);
        }
        let mut tables = Vec::new();
        for (path, topic, header, text) in &headers {
            let shape = merged_shape(
                topic,
                headers
                    .iter()
                    .map(|(path, of, header, _)| (path, of, header)),
            )?;
            let columns = select::plan(text, &header.refuse, path, &shape, zone).await?;
            check_observed_at(header, path, &shape)?;
            let table = declare(path, topic, header, text, columns)?;
            check_unique(&table, &tables)?;
            tables.push(table);
        }
        Ok(Self { tables })
    }

    /// Names of the topics that tables are declared for, each once, in order.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        let topics = self.tables.iter().map(|table| table.topic.as_str());
        topics.collect::<BTreeSet<_>>().into_iter()
    }

    pub fn tables(&self) -> impl Iterator<Item = &Declaration> {
        self.tables.iter()
    }

    /// The declaration of topic `name`; none without a table.
    pub(crate) fn topic(&self, name: &str, zone: Tz) -> Result<Option<TopicDeclaration>, Error> {
        let tables: Vec<_> = self
            .tables
            .iter()
            .filter(|table| table.topic == name)
            .cloned()
            .collect();
        let Some(first) = tables.first() else {
            return Ok(None);
        };
        let mut shape = first.shape.clone();
        for table in &tables[1..] {
            shape = Shape::merge(&shape, &table.shape).map_err(|source| Error::MessageType {
                path: table.path.clone(),
                source,
            })?;
        }
        let observed_at = tables
            .iter()
            .find_map(|table| table.observed_at.as_ref())
            .map(|path| path.split('.').map(str::to_owned).collect());
        // A message is validated once for all tables, so the strictest of them decides.
        let event_time_min = tables.iter().filter_map(|table| table.event_time_min).max();
        let event_time_min =
            event_time_min.or_else(|| DateTime::from_timestamp(EVENT_TIME_MIN_S, 0));
        Ok(Some(TopicDeclaration {
            name: name.to_owned(),
            shape,
            tables,
            observed_at,
            event_time_min,
            zone,
        }))
    }
}

/// Refuses a name that another table has.
fn check_unique(table: &Declaration, others: &[Declaration]) -> Result<(), Error> {
    let owner = if table.name.as_str() == DEAD_LETTERS {
        "is that of the refused messages".to_owned()
    } else if let Some(other) = others.iter().find(|other| other.name == table.name) {
        format!("is declared by {} too", other.path.display())
    } else {
        return Ok(());
    };
    Err(Error::Declaration {
        path: table.path.clone(),
        message: format!("table \"{}\" {owner}; name the file otherwise", table.name),
    })
}

/// Refuses a path to the time of a message that names no field.
fn check_observed_at(header: &Header, path: &Path, shape: &Shape) -> Result<(), Error> {
    let Some(steps) = &header.observed_at else {
        return Ok(());
    };
    let mut found = shape.data_type();
    for step in steps.split('.') {
        let next = match &found {
            DataType::Struct(fields) => fields.find(step).map(|(_, field)| field.data_type()),
            _ => None,
        };
        found = next.cloned().unwrap_or(DataType::Null);
    }
    if found == DataType::Int64 {
        return Ok(());
    }
    Err(Error::Declaration {
        path: path.to_owned(),
        message: format!(
            "observed_at = \"{steps}\" names no bigint of the messages; it is the moment in epoch seconds, its steps joined by dots"
        ),
    })
}

type Read = (PathBuf, String, Header, String);

fn read(path: &Path, kafka_topic: &str) -> Result<Read, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| engine::Error::ReadFile {
        path: path.to_owned(),
        source,
    })?;
    let described = described::read::<Header>(path, text)?;
    let topic = match described.header.topic.as_str() {
        CONFIGURED_TOPIC => kafka_topic.to_owned(),
        named => named.to_owned(),
    };
    Ok((path.to_owned(), topic, described.header, described.text))
}

/// The union of the types that all tables of `topic` declare.
fn merged_shape<'a>(
    topic: &str,
    headers: impl Iterator<Item = (&'a PathBuf, &'a String, &'a Header)>,
) -> Result<Shape, Error> {
    let mut union = Shape::default();
    for (path, _, header) in headers.filter(|(_, of, _)| *of == topic) {
        let failed = |source| Error::MessageType {
            path: path.clone(),
            source,
        };
        let shape = Shape::parse(&header.message).map_err(failed)?;
        union = Shape::merge(&union, &shape).map_err(failed)?;
    }
    Ok(union)
}

fn declare(
    path: &Path,
    topic: &str,
    header: &Header,
    text: &str,
    columns: SchemaRef,
) -> Result<Declaration, Error> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let name: TableName = stem.parse().map_err(lake::Error::from)?;
    let wrong = |message: String| Error::Declaration {
        path: path.to_owned(),
        message,
    };
    for column in IDENTITY.into_iter().chain([header.partition.as_str()]) {
        if columns.index_of(column).is_err() {
            return Err(wrong(format!(
                "the SELECT has no column \"{column}\"; every landed table has kafka_topic, kafka_partition, kafka_offset and its partition column"
            )));
        }
    }
    if let Some(fault) = misnamed(&columns) {
        return Err(wrong(fault));
    }
    let messages = message_columns(&Shape::default());
    for column in IDENTITY {
        let (given, needed) = (
            columns.field_with_name(column),
            messages.field_with_name(column),
        );
        if let (Ok(given), Ok(needed)) = (given, needed)
            && given.data_type() != needed.data_type()
        {
            return Err(wrong(format!(
                "column \"{column}\" is {}; it must be {}, as in the messages, to tell what is landed",
                given.data_type(),
                needed.data_type()
            )));
        }
    }
    let fields: Vec<_> = columns
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), storable(field.data_type()), true))
        .collect();
    let shape = Shape::parse(&header.message).map_err(|source| Error::MessageType {
        path: path.to_owned(),
        source,
    })?;
    Ok(Declaration {
        name,
        topic: topic.to_owned(),
        path: path.to_owned(),
        schema: TableSchema {
            columns: Arc::new(Schema::new(fields)),
            partition: vec![header.partition.clone()],
            description: header.description.clone(),
        },
        refusals: header.refuse.clone(),
        text: text.to_owned(),
        shape,
        observed_at: header.observed_at.clone(),
        event_time_min: event_time_min(header, path)?,
    })
}

/// The earliest plausible event time that the header gives.
fn event_time_min(header: &Header, path: &Path) -> Result<Option<DateTime<Utc>>, Error> {
    let Some(day) = &header.event_time_min else {
        return Ok(None);
    };
    match day.parse::<NaiveDate>() {
        Ok(day) => Ok(Some(day.and_time(NaiveTime::MIN).and_utc())),
        Err(_) => Err(Error::Declaration {
            path: path.to_owned(),
            message: format!(
                "event_time_min = \"{day}\" is no day; write it as \"2000-01-01\", which begins at midnight in UTC"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Europe::Paris;

    use super::Declarations;

    const FILE: &str = r#"--! description = "One number."
--! topic       = "numbers"
--! partition   = "dt"
--! message     = { x = "double" }
SELECT event_day(kafka_timestamp) AS dt, message['x'] AS x, kafka_topic, kafka_partition, kafka_offset FROM messages"#;

    /// Loads a library with these table files. Returns the number of tables, or the error.
    async fn load(files: &[&str]) -> Result<usize, String> {
        let files: Vec<_> = files.iter().map(|file| (*file, FILE.to_owned())).collect();
        load_written(&files).await
    }

    async fn load_written(files: &[(&str, String)]) -> Result<usize, String> {
        Ok(declared(files).await?.tables().count())
    }

    async fn declared(files: &[(&str, String)]) -> Result<Declarations, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut paths = Vec::new();
        for (file, text) in files {
            let path = directory.path().join("tables").join(file);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
            std::fs::write(&path, text).expect("written");
            paths.push(path);
        }
        let declared = Declarations::load(&paths, "weather-api", Paris).await;
        declared.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn event_times_before_2000_are_implausible_unless_a_file_says_otherwise() {
        for (line, expected) in [
            ("", "2000-01-01T00:00:00+00:00"),
            (
                r#"--! event_time_min = "1950-01-01""#,
                "1950-01-01T00:00:00+00:00",
            ),
        ] {
            let text = FILE.replace("SELECT", &format!("{line}\nSELECT"));
            let declared = declared(&[("a.sql", text)]).await.expect("declared");
            let topic = declared.topic("numbers", Paris).expect("read");
            let earliest = topic.expect("a topic").event_time_min.expect("a minimum");
            assert_eq!(earliest.to_rfc3339(), expected, "{line:?}");
        }
    }

    #[tokio::test]
    async fn table_name_is_declared_once() {
        assert_eq!(load(&["a.sql", "more/b.sql"]).await, Ok(2));
        let twice = load(&["a.sql", "more/a.sql"]).await.expect_err("twice");
        assert!(
            twice.contains("tables/more/a.sql: table \"a\" is declared by")
                && twice.contains("tables/a.sql"),
            "{twice}"
        );
        let taken = load(&["dead_letters.sql"]).await.expect_err("taken");
        assert!(taken.contains("refused messages"), "{taken}");
    }

    #[tokio::test]
    async fn header_of_messages_is_checked_on_load() {
        let said = async |line: &str| {
            let text = FILE.replace("SELECT", &format!("{line}\nSELECT"));
            load_written(&[("a.sql", text)]).await.map_err(|error| {
                assert!(error.contains("tables/a.sql: "), "{error}");
                error
            })
        };
        let rule = |when: &str| format!(r#"--! refuse = [{{ reason = "odd", when = "{when}" }}]"#);
        assert_eq!(said(&rule("message['x'] > 1")).await, Ok(1));
        for (when, says) in [
            ("message['y'] > 1", "rule \"odd\" cannot be planned"),
            ("message['y'] IS NULL", "rule \"odd\" cannot be planned"),
            ("> 1", "rule \"odd\" cannot be planned"),
            (
                "message['x']",
                "rule \"odd\" is Float64; it must be a condition",
            ),
        ] {
            let error = said(&rule(when)).await.expect_err(when);
            assert!(error.contains(says), "{error}");
        }
        for path in ["nosuch", "x", "x.y", ""] {
            let line = format!(r#"--! observed_at = "{path}""#);
            let error = said(&line).await.expect_err(path);
            assert!(error.contains("names no bigint"), "{error}");
        }
        assert_eq!(said(r#"--! event_time_min = "2000-01-01""#).await, Ok(1));
        for day in ["2000", "2000-02-30", "yesterday", ""] {
            let line = format!(r#"--! event_time_min = "{day}""#);
            let error = said(&line).await.expect_err(day);
            assert!(error.contains("is no day"), "{error}");
        }
    }

    #[tokio::test]
    async fn unplannable_select_is_reported_with_its_file() {
        let text = FILE.replace("message['x']", "message['y']");
        let error = load_written(&[("a.sql", text)]).await.expect_err("no y");
        assert!(error.contains("tables/a.sql: the SELECT"), "{error}");
    }
}
