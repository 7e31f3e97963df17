//! Table features, constraints and properties that other tools may have enabled, see
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#table-features>.
//!
//! A table that requires something unsupported is refused by name. A writer that ignores a CHECK
//! constraint, for example, would break it for every reader.

use std::collections::HashMap;

use arrow::datatypes::{Field, Schema};
use deltalake_core::kernel::Protocol;
use deltalake_core::table::state::DeltaTableState;

use crate::commit::CommitActions;
use crate::error::Error;
use crate::name::TableName;
use crate::snapshot::time_travel::IN_COMMIT_TIMESTAMPS;

/// From this writer version on a table lists its features; a lower version implies a set of them.
const VERSION_OF_FEATURES: i32 = 7;

/// Features that require nothing of Isobar, in use or not: it only adds rows with all their columns
/// and removes whole files, which readers of a change feed find in the log.
const HONOURED: [&str; 9] = [
    "allowColumnDefaults",
    "appendOnly",
    "changeDataFeed",
    "checkpointProtection",
    "deletionVectors",
    "domainMetadata",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// Features that are refused when the table uses them. A table that only lists them is accepted.
const REFUSED_IN_USE: [&str; 6] = [
    "checkConstraints",
    "columnMapping",
    "generatedColumns",
    "identityColumns",
    "inCommitTimestamp",
    "invariants",
];

/// Properties that require of every writer what Isobar does not do.
const PROPERTIES: [(&str, &str); 5] = [
    (IN_COMMIT_TIMESTAMPS, "in-commit timestamps"),
    ("delta.enableRowTracking", "row tracking"),
    ("delta.enableIcebergCompatV1", "compatibility with Iceberg"),
    ("delta.enableIcebergCompatV2", "compatibility with Iceberg"),
    ("delta.enableIcebergCompatV3", "compatibility with Iceberg"),
];

/// Column metadata that requires writers to compute or check values.
const OF_COLUMNS: [(&str, &str); 3] = [
    ("delta.invariants", "an invariant"),
    ("delta.generationExpression", "a generation expression"),
    ("delta.identity.start", "an identity"),
];

/// Refuses a table whose rows plain scans of its Parquet files would not yield.
pub(crate) fn refuse_unreadable(name: &TableName, state: &DeltaTableState) -> Result<(), Error> {
    let configuration = state.metadata().configuration();
    let is_mapped = configuration
        .get("delta.columnMapping.mode")
        .is_some_and(|mode| mode != "none");
    let has_vectors = || {
        let mut files = state.log_data().into_iter();
        files.any(|file| file.deletion_vector_descriptor().is_some())
    };
    let (feature, remedy) = if is_mapped {
        (
            "column mapping",
            "copy its rows to a table without (`delta.columnMapping.mode` = `none`)",
        )
    } else if has_vectors() {
        (
            "deletion vectors",
            "have the tool that wrote it rewrite its files (`REORG TABLE … APPLY (PURGE)`) and set `delta.enableDeletionVectors` to false",
        )
    } else {
        return Ok(());
    };
    Err(Error::UnsupportedTable {
        table: name.clone(),
        feature,
        remedy,
    })
}

/// Whether files of the table may have rows that were deleted after their statistics were written.
pub(crate) fn may_delete_rows(protocol: &Protocol) -> bool {
    features(protocol).any(|feature| feature == "deletionVectors")
}

/// Refuses `actions` on a table that requires of writers what Isobar does not do.
pub(crate) fn refuse_unwritable(
    name: &TableName,
    state: &DeltaTableState,
    actions: &CommitActions,
) -> Result<(), Error> {
    let columns = state.snapshot().arrow_schema();
    let configuration = state.metadata().configuration();
    let takes_away = !actions.remove.is_empty() || !actions.replace.is_empty();
    let found = unknown_feature(state.protocol())
        .or_else(|| property(configuration))
        .or_else(|| of_column(&columns))
        .or_else(|| {
            let append_only = takes_away && is_true(configuration, "delta.appendOnly");
            append_only.then(|| "rows that only ever are appended (`delta.appendOnly`)".to_owned())
        });
    match found {
        None => Ok(()),
        Some(feature) => Err(Error::UnwritableTable {
            table: name.clone(),
            feature,
        }),
    }
}

/// Names of the features that the table lists.
fn features(protocol: &Protocol) -> impl Iterator<Item = String> {
    let listed = protocol.writer_features().unwrap_or_default().iter();
    let listed = listed.chain(protocol.reader_features().unwrap_or_default());
    listed.filter_map(|feature| match serde_json::to_value(feature) {
        Ok(serde_json::Value::String(name)) => Some(name),
        Ok(_) | Err(_) => None,
    })
}

fn unknown_feature(protocol: &Protocol) -> Option<String> {
    let version = protocol.min_writer_version();
    if version > VERSION_OF_FEATURES {
        return Some(format!("version {version} of the protocol for writers"));
    }
    let known = |feature: &String| {
        HONOURED.contains(&feature.as_str()) || REFUSED_IN_USE.contains(&feature.as_str())
    };
    let unknown = features(protocol).find(|feature| !known(feature));
    unknown.map(|feature| format!("feature \"{feature}\""))
}

fn is_true(configuration: &HashMap<String, String>, key: &str) -> bool {
    let value = configuration.get(key);
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn property(configuration: &HashMap<String, String>) -> Option<String> {
    let constraint = configuration.iter().find_map(|(key, expression)| {
        let name = key.strip_prefix("delta.constraints.")?;
        Some(format!("CHECK constraint \"{name}\" ({expression})"))
    });
    constraint.or_else(|| {
        let mut used = PROPERTIES.iter();
        let used = used.find(|(key, _)| is_true(configuration, key));
        used.map(|(key, what)| format!("{what} (`{key}`)"))
    })
}

fn of_column(columns: &Schema) -> Option<String> {
    let of = |field: &Field| {
        let mut asked = OF_COLUMNS.iter();
        let asked = asked.find(|(key, _)| field.metadata().contains_key(*key));
        asked.map(|(_, what)| format!("{what} of column \"{}\"", field.name()))
    };
    columns.flattened_fields().into_iter().find_map(of)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::{of_column, property};

    #[test]
    fn what_a_writer_would_have_to_check_is_named() {
        let check = |key: &str, value: &str, expected: Option<&str>| {
            let configuration = HashMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(property(&configuration).as_deref(), expected, "{key}");
        };
        check("delta.checkpointInterval", "10", None);
        check("delta.enableRowTracking", "false", None);
        check(
            "delta.enableRowTracking",
            "true",
            Some("row tracking (`delta.enableRowTracking`)"),
        );
        check(
            "delta.constraints.positive",
            "v > 0",
            Some("CHECK constraint \"positive\" (v > 0)"),
        );
    }

    #[test]
    fn what_a_writer_would_have_to_compute_is_named_inside_structs_too() {
        let metadata = HashMap::from([("delta.generationExpression".to_owned(), "1".to_owned())]);
        let inner = Field::new("inner", DataType::Int64, true).with_metadata(metadata);
        let outer = Field::new("outer", DataType::Struct(vec![inner].into()), true);
        let plain = Field::new("plain", DataType::Int64, true);
        assert_eq!(of_column(&Schema::new(vec![plain.clone()])), None);
        let found = of_column(&Schema::new(vec![plain, outer]));
        assert_eq!(
            found.as_deref(),
            Some("a generation expression of column \"inner\"")
        );
    }
}
