//! What can fail in the engine: each variant is an attempt, its object and its cause.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake_core::DeltaTableError;
use url::Url;

use crate::lake::TableName;

/// An attempt of the engine that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not open the storage at {url}")]
    OpenStore {
        url: Url,
        #[source]
        source: object_store::Error,
    },
    #[error("{url} has a scheme that is not supported; use hdfs:// or file://")]
    UnknownScheme { url: Url },
    #[error("could not {attempt} {location}")]
    Storage {
        attempt: &'static str,
        location: String,
        #[source]
        source: object_store::Error,
    },
    #[error(
        "\"{name}\" is not a table name; use lower-case letters, digits and `_`, a letter first, 128 at most"
    )]
    TableName { name: String },
    #[error("there is no table \"{table}\" in the lake at {lake}")]
    NoSuchTable { table: TableName, lake: String },
    #[error("could not open table \"{table}\" at {location}")]
    OpenTable {
        table: TableName,
        location: String,
        #[source]
        source: DeltaTableError,
    },
    #[error("could not create table \"{table}\" at {location}")]
    CreateTable {
        table: TableName,
        location: String,
        #[source]
        source: DeltaTableError,
    },
    #[error("could not commit to table \"{table}\" at {location}")]
    Commit {
        table: TableName,
        location: String,
        #[source]
        source: DeltaTableError,
    },
    #[error("table \"{table}\" uses {feature}, which isobar does not read")]
    UnsupportedTable {
        table: TableName,
        feature: &'static str,
    },
    #[error("table \"{table}\" is partitioned by ({present}), its declaration says ({declared})")]
    PartitionDiffers {
        table: TableName,
        present: String,
        declared: String,
    },
    #[error(
        "column \"{column}\" of table \"{table}\" is {present}, its declaration says {declared}"
    )]
    ColumnDiffers {
        table: TableName,
        column: String,
        present: String,
        declared: String,
    },
    #[error("table \"{table}\" has columns that cannot be used")]
    Schema {
        table: TableName,
        #[source]
        source: ArrowError,
    },
    #[error("others kept committing to table \"{table}\"; gave up after {tries} tries")]
    Contended { table: TableName, tries: usize },
    #[error("could not plan the statement")]
    Plan(#[source] DataFusionError),
    #[error("could not run the statement")]
    Execute(#[source] DataFusionError),
}
