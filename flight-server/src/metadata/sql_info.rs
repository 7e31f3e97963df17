//! The server and its SQL, as `CommandGetSqlInfo` describes them. Drivers and database browsers
//! request every value, and show empty trees where one is missing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    SqlInfo as I, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
    SqlSupportedResultSetConcurrency, SqlSupportedResultSetType, SqlSupportedTransaction,
    SqlSupportsConvert, SqlTransactionIsolationLevel,
};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::ScalarUDF;
use engine::session::Session;

/// Keywords of our SQL that the standard does not reserve.
const KEYWORDS: [&str; 14] = [
    "ANTI", "DESCRIBE", "EXCEPT", "EXCLUDE", "EXPLAIN", "ILIKE", "LIMIT", "OFFSET", "QUALIFY",
    "REPLACE", "SEMI", "SHOW", "UNNEST", "VERBOSE",
];

/// The values that differ between servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerInfo {
    /// Version of the binary.
    pub(crate) version: &'static str,
    /// Longest time of one statement.
    pub(crate) query_timeout: Duration,
    /// Limit of the statements that run at a time.
    pub(crate) queries_max: usize,
}

pub(crate) fn build(
    session: &Session,
    server_info: ServerInfo,
) -> Result<SqlInfoData, FlightError> {
    let mut info = SqlInfoDataBuilder::new();
    server(&mut info, server_info);
    names(&mut info);
    functions(&mut info, session);
    clauses(&mut info);
    limits(&mut info, server_info);
    transactions(&mut info);
    results(&mut info);
    info.build()
}

fn server(info: &mut SqlInfoDataBuilder, server_info: ServerInfo) {
    info.append(I::FlightSqlServerName, "Isobar");
    info.append(I::FlightSqlServerVersion, server_info.version);
    info.append(I::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(I::FlightSqlServerReadOnly, true);
    info.append(I::FlightSqlServerSql, true);
    info.append(I::FlightSqlServerSubstrait, false);
    info.append(I::FlightSqlServerSubstraitMinVersion, "");
    info.append(I::FlightSqlServerSubstraitMaxVersion, "");
    info.append(
        I::FlightSqlServerTransaction,
        SqlSupportedTransaction::None as i32,
    );
    info.append(I::FlightSqlServerCancel, true);
    info.append(I::FlightSqlServerBulkIngestion, false);
    info.append(I::FlightSqlServerIngestTransactionsSupported, false);
    let timeout_ms = i32::try_from(server_info.query_timeout.as_millis()).unwrap_or(i32::MAX);
    info.append(I::FlightSqlServerStatementTimeout, timeout_ms);
    info.append(I::FlightSqlServerTransactionTimeout, 0);
}

fn names(info: &mut SqlInfoDataBuilder) {
    for forbidden in [I::SqlDdlCatalog, I::SqlDdlSchema, I::SqlDdlTable] {
        info.append(forbidden, false);
    }
    let folded = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase;
    info.append(I::SqlIdentifierCase, folded as i32);
    info.append(I::SqlIdentifierQuoteChar, "\"");
    // A quoted name is compared as it is written, for which the protocol has no value.
    let exact = SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown;
    info.append(I::SqlQuotedIdentifierCase, exact as i32);
    info.append(I::SqlAllTablesAreSelectable, true);
    info.append(
        I::SqlNullOrdering,
        SqlNullOrdering::SqlNullsSortedHigh as i32,
    );
    info.append(I::SqlKeywords, &KEYWORDS[..]);
    info.append(I::SqlSearchStringEscape, "\\");
    info.append(I::SqlExtraNameCharacters, "");
    info.append(I::SqlSchemaTerm, "schema");
    info.append(I::SqlProcedureTerm, "procedure");
    info.append(I::SqlCatalogTerm, "catalog");
    info.append(I::SqlCatalogAtStart, true);
    // Schemas and catalogs may qualify a table in a query, and no other statement names them.
    info.append(I::SqlSchemasSupportedActions, 0);
    info.append(I::SqlCatalogsSupportedActions, 0);
}

/// The functions of the session by their section in DataFusion's manual. A function of ours without
/// documentation belongs to the section of the DataFusion function that it replaces.
fn functions(info: &mut SqlInfoDataBuilder, session: &Session) {
    let state = session.context().state();
    let replaced: HashMap<String, Arc<ScalarUDF>> =
        SessionStateDefaults::default_scalar_functions()
            .into_iter()
            .map(|function| (function.name().to_owned(), function))
            .collect();
    let functions_of = |section: &str| {
        let functions = state.scalar_functions().iter();
        let mut names: Vec<String> = functions
            .filter(|(name, function)| {
                let documentation = function
                    .documentation()
                    .or_else(|| replaced.get(*name)?.documentation());
                documentation.is_some_and(|found| found.doc_section.label == section)
            })
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    };
    info.append(I::SqlNumericFunctions, functions_of("Math Functions"));
    info.append(I::SqlStringFunctions, functions_of("String Functions"));
    info.append(I::SqlSystemFunctions, functions_of("Other Functions"));
    info.append(
        I::SqlDatetimeFunctions,
        functions_of("Time and Date Functions"),
    );
}

fn clauses(info: &mut SqlInfoDataBuilder) {
    for supported in [
        I::SqlSupportsColumnAliasing,
        I::SqlNullPlusNullIsNull,
        I::SqlSupportsTableCorrelationNames,
        I::SqlSupportsExpressionsInOrderBy,
        I::SqlSupportsOrderByUnrelated,
        I::SqlSupportsLikeEscapeClause,
        I::SqlSupportsNonNullableColumns,
        I::SqlCorrelatedSubqueriesSupported,
    ] {
        info.append(supported, true);
    }
    for missing in [
        I::SqlSupportsDifferentTableCorrelationNames,
        I::SqlSupportsIntegrityEnhancementFacility,
        I::SqlSelectForUpdateSupported,
        I::SqlStoredProceduresSupported,
        I::SqlNamedParametersSupported,
        I::SqlLocatorsUpdateCopy,
        I::SqlStoredFunctionsUsingCallSyntaxSupported,
    ] {
        info.append(missing, false);
    }
    info.append(I::SqlSupportsConvert, conversions());
    // Bit masks, whose bits the protocol lists.
    info.append(I::SqlSupportedGroupBy, 0b11);
    info.append(I::SqlSupportedGrammar, 0b11);
    info.append(I::SqlAnsi92SupportedLevel, 0b1);
    info.append(I::SqlSupportedSubqueries, 0b111);
    info.append(I::SqlSupportedUnions, 0b11);
    info.append(I::SqlSupportedPositionedCommands, 0);
    let joins = SqlOuterJoinsSupportLevel::SqlFullOuterJoins;
    info.append(I::SqlOuterJoinsSupportLevel, joins as i32);
}

/// The conversions of CAST: among numbers, among texts, among instants, and between text and
/// anything.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert as C;
    let numbers = [
        C::SqlConvertBigint,
        C::SqlConvertBit,
        C::SqlConvertDecimal,
        C::SqlConvertFloat,
        C::SqlConvertInteger,
        C::SqlConvertNumeric,
        C::SqlConvertReal,
        C::SqlConvertSmallint,
        C::SqlConvertTinyint,
    ];
    let texts = [
        C::SqlConvertChar,
        C::SqlConvertVarchar,
        C::SqlConvertLongvarchar,
    ];
    let instants = [C::SqlConvertDate, C::SqlConvertTime, C::SqlConvertTimestamp];
    let codes = |groups: &[&[C]]| {
        let all = groups.iter().flat_map(|group| group.iter());
        all.map(|convert| *convert as i32).collect::<Vec<_>>()
    };
    let to_number = codes(&[&numbers, &texts]);
    let to_any = codes(&[&numbers, &texts, &instants]);
    let to_instant = codes(&[&[C::SqlConvertDate, C::SqlConvertTimestamp], &texts]);
    let from_number = codes(&[&numbers])
        .into_iter()
        .map(|from| (from, to_number.clone()));
    let from_text = codes(&[&texts])
        .into_iter()
        .map(|from| (from, to_any.clone()));
    let from_instant = codes(&[&instants])
        .into_iter()
        .map(|from| (from, to_instant.clone()));
    from_number.chain(from_text).chain(from_instant).collect()
}

/// Zero means no limit, or an unknown one.
fn limits(info: &mut SqlInfoDataBuilder, server_info: ServerInfo) {
    for unlimited in [
        I::SqlMaxBinaryLiteralLength,
        I::SqlMaxCharLiteralLength,
        I::SqlMaxColumnNameLength,
        I::SqlMaxColumnsInGroupBy,
        I::SqlMaxColumnsInIndex,
        I::SqlMaxColumnsInOrderBy,
        I::SqlMaxColumnsInSelect,
        I::SqlMaxColumnsInTable,
        I::SqlMaxConnections,
        I::SqlMaxCursorNameLength,
        I::SqlMaxIndexLength,
        I::SqlDbSchemaNameLength,
        I::SqlMaxProcedureNameLength,
        I::SqlMaxCatalogNameLength,
        I::SqlMaxRowSize,
        I::SqlMaxTablesInSelect,
        I::SqlMaxUsernameLength,
    ] {
        info.append(unlimited, 0_i64);
    }
    info.append(I::SqlMaxRowSizeIncludesBlobs, true);
    info.append(I::SqlMaxStatementLength, engine::sql::TEXT_MAX as i64);
    let statements = i64::try_from(server_info.queries_max).unwrap_or(i64::MAX);
    info.append(I::SqlMaxStatements, statements);
    info.append(I::SqlMaxTableNameLength, 128_i64);
}

fn transactions(info: &mut SqlInfoDataBuilder) {
    let none = SqlTransactionIsolationLevel::SqlTransactionNone as i32;
    info.append(I::SqlDefaultTransactionIsolation, none);
    info.append(I::SqlTransactionsSupported, false);
    info.append(I::SqlSupportedTransactionsIsolationLevels, 1 << none);
    info.append(I::SqlDataDefinitionCausesTransactionCommit, false);
    info.append(I::SqlDataDefinitionsInTransactionsIgnored, false);
    info.append(I::SqlBatchUpdatesSupported, false);
    info.append(I::SqlSavepointsSupported, false);
}

fn results(info: &mut SqlInfoDataBuilder) {
    let forward = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    let reading = SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32;
    info.append(I::SqlSupportedResultSetTypes, 1 << forward);
    info.append(I::SqlSupportedConcurrenciesForResultSetUnspecified, 0);
    info.append(
        I::SqlSupportedConcurrenciesForResultSetForwardOnly,
        1 << reading,
    );
    info.append(I::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0);
    info.append(I::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0);
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray as _;
    use arrow::datatypes::UInt32Type;
    use engine::runtime::{Runtime, RuntimeOptions};
    use lake::{Lake, StoreOptions, Stores};

    use super::*;

    fn built() -> SqlInfoData {
        let stores = Stores::new(StoreOptions {
            user: String::new(),
            limit: Duration::from_secs(1),
        });
        let lake = "file:///nowhere".parse().expect("an address");
        let lake = Lake::new(&lake, stores).expect("a lake");
        let session = Session::new(
            &lake,
            "UTC".parse().expect("a zone"),
            &Runtime::new(&RuntimeOptions::default()).expect("a runtime"),
        )
        .expect("a session");
        let server_info = ServerInfo {
            version: "1.2.3",
            query_timeout: Duration::from_secs(600),
            queries_max: 64,
        };
        build(&session, server_info).expect("it can be built")
    }

    #[test]
    fn every_info_code_of_the_protocol_has_a_value() {
        let all = built().record_batch([]).expect("all");
        let answered = all.column(0).as_primitive::<UInt32Type>();
        let known = (0..10_000).filter(|id| I::try_from(*id).is_ok());
        let known: Vec<u32> = known
            .map(|id| u32::try_from(id).expect("positive"))
            .collect();
        assert!(known.len() > 90, "{}", known.len());
        assert_eq!(answered.values().to_vec(), known);
    }

    #[test]
    fn single_info_code_is_returned_alone() {
        let name = I::FlightSqlServerName as u32;
        let one = built().record_batch([name]).expect("one");
        assert_eq!(one.num_rows(), 1);
    }

    #[test]
    fn listed_functions_are_those_of_the_session() {
        let functions = I::SqlDatetimeFunctions as u32;
        let one = built().record_batch([functions]).expect("one");
        let value = one
            .column(1)
            .as_any()
            .downcast_ref::<arrow::array::UnionArray>();
        let names = value.expect("a union").value(0);
        let names = names.as_list::<i32>().value(0);
        let names = names.as_string::<i32>();
        assert!(names.iter().flatten().any(|name| name == "date_trunc"));
    }
}
