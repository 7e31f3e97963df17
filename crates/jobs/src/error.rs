//! What can fail in a job: each variant is an attempt, its object and its cause.

use std::path::PathBuf;

/// An attempt to read or run a query file that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Lake(#[from] lake::Error),
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
}
