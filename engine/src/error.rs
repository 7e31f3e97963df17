//! What can fail in the engine: each variant is an attempt, its object and its cause.

use std::path::PathBuf;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;
use url::Url;

use crate::config::ByteSize;
use crate::lake::TableName;
use crate::sql::SourcePosition;

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
    #[error("could not read {}", path.display())]
    ReadFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "\"{}\" has no header; begin it with lines such as `--! description = \"…\"`",
        path.display()
    )]
    NoHeader { path: PathBuf },
    #[error("{}:{line}: {message}", path.display())]
    Header {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("there is no query \"{name}\" in {}; {remedy}", root.display())]
    NoSuchQuery {
        name: String,
        root: PathBuf,
        remedy: String,
    },
    #[error("query \"{query}\" cannot fill a table: {fault}")]
    QueryColumnName { query: String, fault: String },
    #[error("query \"{query}\" has no column \"{column}\", which its header names")]
    QueryColumn { query: String, column: String },
    #[error(
        "query \"{query}\" has two columns called \"{column}\", which its outputs could not tell apart; give one of them another name with AS"
    )]
    QueryColumnTwice { query: String, column: String },
    #[error(
        "column \"{column}\" of query \"{query}\" is {data_type}, which outputs do not hold; make it a scalar, for instance with array_to_string or unnest, or CAST it"
    )]
    QueryColumnType {
        query: String,
        column: String,
        data_type: String,
    },
    #[error(
        "query \"{query}\" has no output; name one in {}, or use `isobar sql -f` to see its rows",
        path.display()
    )]
    NoOutput { query: String, path: PathBuf },
    #[error("query \"{query}\" has no parameter \"{name}\"; it has: {known}")]
    UnknownParameter {
        query: String,
        name: String,
        known: String,
    },
    #[error("query \"{query}\" needs parameter \"{name}\"; give it as `-p {name}=…`")]
    MissingParameter { query: String, name: String },
    #[error(
        "parameter \"{name}\" of query \"{query}\" selects its partition; give it as --dt, --from and --to, or --all"
    )]
    PartitionParameter { query: String, name: String },
    #[error("\"{value}\" is not a value of \"{name}\"; give {expected}")]
    ParameterValue {
        name: String,
        value: String,
        expected: &'static str,
    },
    #[error(
        "query \"{query}\" returned rows of partition \"{found}\" when run for \"{asked}\"; let it select its partition by the parameter"
    )]
    OtherPartition {
        query: String,
        asked: String,
        found: String,
    },
    #[error(
        "query \"{query}\" publishes nothing: {nulls} rows of partition \"{partition}\" have no \"{column}\""
    )]
    CheckFailed {
        query: String,
        partition: String,
        column: String,
        nulls: usize,
    },
    #[error("could not encode the rows of query \"{query}\"")]
    Encode {
        query: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "others kept committing to the output of query \"{query}\"; gave up after {tries} runs"
    )]
    TooManyRunConflicts { query: String, tries: usize },
    #[error(
        "query \"{query}\" publishes nothing: a row of partition \"{partition}\" has no \"{column}\", which output.hbase.row_key names"
    )]
    RowKeyNull {
        query: String,
        partition: String,
        column: String,
    },
    #[error(
        "query \"{query}\" publishes nothing: rows of partition \"{partition}\" share the row key \"{key}\"; let output.hbase.row_key name the columns that tell rows apart"
    )]
    RowKeyTaken {
        query: String,
        partition: String,
        key: String,
    },
    #[error(
        "the rows of query \"{query}\" are published, but not in HBase table \"{table}\"; the next run completes it"
    )]
    SyncHbase {
        query: String,
        table: String,
        #[source]
        source: Box<Error>,
    },
    #[error(
        "HBase's Thrift server at {server} cannot be reached; check that it runs, then hbase.host (HBASE_HOST) and hbase.port (HBASE_PORT), or switch hbase.enabled (HBASE_ENABLED) off"
    )]
    HbaseUnreachable {
        server: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "could not {attempt} HBase by its Thrift server at {server} within {}; check that HBase runs, then hbase.host (HBASE_HOST) and hbase.port (HBASE_PORT)",
        humantime::format_duration(*limit)
    )]
    HbaseTimedOut {
        attempt: &'static str,
        server: String,
        limit: std::time::Duration,
    },
    #[error(
        "could not {attempt} HBase by its Thrift server at {server}; check that HBase runs, then hbase.host (HBASE_HOST) and hbase.port (HBASE_PORT)"
    )]
    Hbase {
        attempt: &'static str,
        server: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "HBase has no namespace \"{namespace}\" for table \"{table}\", and its Thrift server cannot create one; run `echo \"create_namespace '{namespace}'\" | hbase shell -n`"
    )]
    HbaseNamespace { table: String, namespace: String },
    #[error(
        "HBase table \"{table}\" has no family \"{family}\", and its Thrift server cannot add one; run `echo \"alter '{table}', NAME => '{family}'\" | hbase shell -n`"
    )]
    HbaseFamily { table: String, family: &'static str },
    #[error("{message}\n  at {position}")]
    Syntax {
        message: String,
        position: SourcePosition,
    },
    #[error("{origin} holds {found} statements where one is expected")]
    StatementCount { origin: String, found: usize },
    #[error("{origin} has {found} {what}, which is over the limit of {limit}")]
    StatementTooLarge {
        origin: String,
        what: &'static str,
        found: usize,
        limit: usize,
    },
    #[error(
        "{origin} nests brackets and subqueries too deep: over {limit} levels, of which a subquery takes several; give the inner ones names with WITH"
    )]
    StatementTooDeep { origin: String, limit: usize },
    #[error("{statement} is not allowed here: SQL only reads the lake")]
    ReadOnly { statement: String },
    #[error(
        "RIGHT or FULL JOIN by names (USING, NATURAL) beside a table whose columns are not known before it is planned; write ON, with coalesce(a.k, b.k) for the column of both"
    )]
    JoinByName,
    #[error(
        "the process holds {resident} of memory, and takes no new statement above {limit} (query.resident_max); try again when others have ended"
    )]
    MemoryFull { resident: ByteSize, limit: ByteSize },
    #[error(
        "the statement was ended for its memory: it holds {held}, more than any other, and all of the process more than {limit} (query.resident_max); collect fewer values in one list, text or window, or select fewer rows"
    )]
    StatementMemory { held: ByteSize, limit: ByteSize },
    #[error("could not start a thread")]
    Threads(#[source] std::io::Error),
    #[error(
        "one side of a join does not fit into memory, of which all joins may have {limit}: half of query.memory; select fewer rows or columns of it before the join, or join by equal columns the smaller table"
    )]
    JoinMemory { limit: ByteSize },
    #[error(
        "the statement has over {limit} tables and queries once each name of WITH is replaced by its query; name each less often, or let a query file keep its rows in a table"
    )]
    PlanTooLarge { limit: u64 },
    #[error(
        "the join of {left} with {right} would compare about {pairs} pairs of rows, and may compare {limit} (query.max_join_pairs); add a join condition such as `a.key = b.key`, or select fewer rows of each side before"
    )]
    JoinPairs {
        left: String,
        right: String,
        pairs: String,
        limit: u64,
    },
    #[error(
        "GROUP BY has over {limit} grouping sets, those of a CUBE over 12 columns; name the sets that are needed with GROUPING SETS"
    )]
    GroupingSets { limit: u64 },
    #[error(
        "subqueries inside expressions nest over {limit} deep; give the inner ones names with WITH, or join them"
    )]
    SubqueriesTooDeep { limit: usize },
    #[error(
        "planning the statement took longer than {}; make it smaller",
        humantime::format_duration(*limit)
    )]
    PlanningTooLong { limit: std::time::Duration },
    #[error("{function}() would make {bytes} for {what}: the limit is {limit}")]
    FunctionTooLarge {
        function: String,
        what: &'static str,
        bytes: ByteSize,
        limit: ByteSize,
    },
    #[error(
        "{function}() would take {steps} steps for one batch of rows: the limit is {limit}; give it shorter texts or lists"
    )]
    FunctionTooSlow {
        function: String,
        steps: u64,
        limit: u64,
    },
    #[error("could not create a directory to spill to in {} (query.spill_path)", path.display())]
    SpillDirectory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("could not plan the statement")]
    Plan(#[source] DataFusionError),
    #[error("could not run the statement")]
    Execute(#[source] DataFusionError),
}

impl Error {
    /// A statement that could not be planned.
    pub fn plan(cause: DataFusionError) -> Self {
        Self::caused_by(cause, Self::Plan)
    }

    /// A statement that failed while it ran.
    pub fn execute(cause: DataFusionError) -> Self {
        Self::caused_by(cause, Self::Execute)
    }

    /// An error of ours that came through DataFusion stays what it is.
    fn caused_by(cause: DataFusionError, attempt: fn(DataFusionError) -> Self) -> Self {
        match unwrapped(cause) {
            DataFusionError::External(source) => match source.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(source) => attempt(DataFusionError::External(source)),
            },
            cause => attempt(cause),
        }
    }
}

/// What went wrong itself. DataFusion wraps it in the names of planner rules ("type_coercion caused by"), and Parquet and
/// Arrow carry DataFusion's errors and each other's as external ones.
fn unwrapped(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Context(_, inner) => unwrapped(*inner),
        DataFusionError::External(source) => of_source(source, DataFusionError::External),
        DataFusionError::ArrowError(inner, backtrace) => match *inner {
            ArrowError::ExternalError(source) => of_source(source, |source| {
                DataFusionError::from(ArrowError::ExternalError(source))
            }),
            inner => DataFusionError::ArrowError(Box::new(inner), backtrace),
        },
        DataFusionError::ParquetError(inner) => match *inner {
            ParquetError::External(source) => of_source(source, |source| {
                DataFusionError::from(ParquetError::External(source))
            }),
            inner => DataFusionError::from(inner),
        },
        other => other,
    }
}

/// The error that `source` is, or what `otherwise` makes of it.
fn of_source(
    source: Box<dyn std::error::Error + Send + Sync>,
    otherwise: impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> DataFusionError,
) -> DataFusionError {
    let source = match source.downcast::<DataFusionError>() {
        Ok(inner) => return unwrapped(*inner),
        Err(source) => source,
    };
    let source = match source.downcast::<ArrowError>() {
        Ok(inner) => return unwrapped(DataFusionError::from(*inner)),
        Err(source) => source,
    };
    match source.downcast::<ParquetError>() {
        Ok(inner) => unwrapped(DataFusionError::from(*inner)),
        Err(source) => otherwise(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_libraries_wrapped_is_shown_as_it_is() {
        let overflow = || ArrowError::ArithmeticOverflow("Overflow happened on: 1 + 2".into());
        let in_scan = ArrowError::ExternalError(Box::new(DataFusionError::from(overflow())));
        let in_scan = DataFusionError::from(ParquetError::External(Box::new(in_scan)));
        let in_rule = DataFusionError::from(overflow()).context("checked_arithmetic");
        for wrapped in [in_scan, in_rule, DataFusionError::from(overflow())] {
            let Error::Execute(cause) = Error::execute(wrapped) else {
                panic!("a statement that failed");
            };
            let text = cause.strip_backtrace();
            assert_eq!(
                text,
                "Arrow error: Arithmetic overflow: Overflow happened on: 1 + 2"
            );
        }
        let ours = Error::SubqueriesTooDeep { limit: 1 };
        let wrapped = DataFusionError::External(Box::new(ours)).context("a rule");
        assert!(matches!(
            Error::plan(wrapped),
            Error::SubqueriesTooDeep { .. }
        ));
    }
}
