//! What can fail in the lake: each variant is an attempt, its object and its cause.

use arrow::error::ArrowError;
use deltalake_core::DeltaTableError;
use url::Url;

use crate::name::{NotATableName, TableName};

/// An attempt of the lake that failed.
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
    #[error(transparent)]
    TableName(#[from] NotATableName),
    #[error("there is no table \"{table}\" in the lake at {lake}")]
    NoSuchTable { table: TableName, lake: String },
    #[error(
        "table \"{table}\" has no {asked}: its log has versions {oldest} to {newest}; ask for one of these"
    )]
    NoSuchVersion {
        table: TableName,
        /// What was asked for, in words.
        asked: String,
        /// The oldest version that the log still has.
        oldest: u64,
        newest: u64,
    },
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
    #[error(
        "table \"{table}\" at {location} was dropped or recreated by another process while isobar was writing to it; start again"
    )]
    TableReplaced { table: TableName, location: String },
    #[error(
        "table \"{table}\" at {location} cannot be read: its log is broken, or asks for more than isobar knows; mend it with the tool that wrote it, or move its directory out of the lake"
    )]
    UnreadableTable {
        table: TableName,
        location: String,
        #[source]
        source: DeltaTableError,
    },
    #[error("table \"{table}\" cannot be read: {fault}")]
    UnusableFile { table: TableName, fault: String },
    #[error("table \"{table}\" uses {feature}, which isobar does not read; {remedy}")]
    UnsupportedTable {
        table: TableName,
        feature: &'static str,
        remedy: &'static str,
    },
    #[error(
        "isobar does not write to table \"{table}\", which has {feature}: it would not be kept; take it off with the tool that set it, or write to another table"
    )]
    UnwritableTable { table: TableName, feature: String },
    #[error(
        "\"{directory}\" at {lake} is a Delta table whose name isobar does not take: a table's name has lower-case letters, digits and `_`, a letter first, 128 at most; give the directory such a name, or a symbolic link with one"
    )]
    DirectoryName { directory: String, lake: String },
    #[error(
        "the log of table \"{table}\" at {location} has checkpoints of another writer, which do not say which topics it was landed from; have that writer stop making checkpoints, and land once more"
    )]
    ForeignLog { table: TableName, location: String },
    #[error("table \"{table}\" is partitioned by ({present}), its declaration says ({declared})")]
    PartitionDiffers {
        table: TableName,
        present: String,
        declared: String,
    },
    #[error(
        "column \"{column}\" of table \"{table}\" is {present}, its declaration says {declared}, and a column keeps its type; CAST it to what it is, give the new column another name, or move the table away and fill it anew"
    )]
    ColumnDiffers {
        table: TableName,
        column: String,
        present: String,
        declared: String,
    },
    #[error(
        "table \"{table}\" has a column \"{column}\" ({present}) that its declaration lacks, and a table loses no column; select it again, as `NULL AS {column}` with a CAST if nothing else is known, or move the table away and fill it anew"
    )]
    ColumnLost {
        table: TableName,
        column: String,
        present: String,
    },
    #[error(
        "a newer declaration has given table \"{table}\" other columns (by version {version}) while this one was writing to it; nothing of this batch is in the table. Start again with the newer declaration"
    )]
    ColumnsChanged { table: TableName, version: u64 },
    #[error("table \"{table}\" has columns that cannot be used")]
    Schema {
        table: TableName,
        #[source]
        source: ArrowError,
    },
    #[error("could not read data file {path} of table \"{table}\"")]
    ReadDataFile {
        table: TableName,
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("others kept committing to table \"{table}\"; gave up after {tries} tries")]
    TooManyConflicts { table: TableName, tries: usize },
}
