//! What can fail in the engine: each variant is an attempt, its object and its cause.

use std::path::PathBuf;

use allocations::MemoryExceeded;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;
use settings::ByteSize;

use crate::source_position::SourcePosition;

/// An attempt of the engine that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Lake(#[from] lake::Error),
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
    #[error(transparent)]
    StatementMemory(#[from] MemoryExceeded),
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
            DataFusionError::External(source) => {
                ours(source).unwrap_or_else(|source| attempt(DataFusionError::External(source)))
            }
            cause => attempt(cause),
        }
    }
}

/// The error that `source` is, if it is one of ours.
fn ours(
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Result<Error, Box<dyn std::error::Error + Send + Sync>> {
    let source = match source.downcast::<Error>() {
        Ok(ours) => return Ok(*ours),
        Err(source) => source,
    };
    let source = match source.downcast::<lake::Error>() {
        Ok(ours) => return Ok(Error::Lake(*ours)),
        Err(source) => source,
    };
    let ours = source.downcast::<MemoryExceeded>();
    ours.map(|ours| Error::StatementMemory(*ours))
}

/// What went wrong itself. DataFusion wraps it in the names of planner rules ("type_coercion caused
/// by"), and Parquet and Arrow carry DataFusion's errors and each other's as external ones.
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
