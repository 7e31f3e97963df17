//! Catalogs, schemas, tables and keys, as Flight SQL lists them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{GetCatalogsBuilder, GetTablesBuilder};
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use engine::session::{CATALOG, SCHEMA};
use engine::system::{self, SYSTEM};
use lake::Lake;
use query_service::ClientTypes;
use tonic::Status;

use crate::metadata::type_info;
use crate::status;

/// Table type of the tables in the lake.
const TABLE: &str = "TABLE";
/// Table type of the tables in schema `system`.
const SYSTEM_TABLE: &str = "SYSTEM TABLE";

pub(crate) fn catalogs() -> Result<RecordBatch, FlightError> {
    let mut catalogs = GetCatalogsBuilder::new();
    catalogs.append(CATALOG);
    catalogs.build()
}

pub(crate) fn schemas(request: CommandGetDbSchemas) -> Result<RecordBatch, FlightError> {
    let mut schemas = request.into_builder();
    schemas.append(CATALOG, SCHEMA);
    schemas.append(CATALOG, SYSTEM);
    schemas.build()
}

pub(crate) fn table_types() -> Result<RecordBatch, FlightError> {
    let schema = Schema::new(vec![Field::new("table_type", DataType::Utf8, false)]);
    let types = arrow::array::StringArray::from(vec![SYSTEM_TABLE, TABLE]);
    Ok(RecordBatch::try_new(schema.into(), vec![Arc::new(types)])?)
}

/// The schema of [`tables`].
pub(crate) fn tables_schema(request: &CommandGetTables) -> SchemaRef {
    GetTablesBuilder::from(request.clone()).schema()
}

/// The tables that match the patterns: those of the lake, and those of schema `system`.
pub(crate) async fn tables(lake: &Lake, request: CommandGetTables) -> Result<RecordBatch, Status> {
    let tables = lake.readable().await.map_err(status::of_lake)?;
    let rows = tables.iter().map(|table| {
        let name = table.name().as_str();
        let columns = if request.include_schema {
            with_flight_metadata(SCHEMA, name, &table.columns())
        } else {
            Schema::empty()
        };
        (name, columns)
    });
    tables_batch(&request, rows).map_err(|error| status::internal(&error))
}

fn tables_batch<'a>(
    request: &CommandGetTables,
    tables: impl Iterator<Item = (&'a str, Schema)>,
) -> Result<RecordBatch, FlightError> {
    let mut builder = GetTablesBuilder::from(request.clone());
    for (name, columns) in tables {
        builder.append(CATALOG, SCHEMA, name, TABLE, &columns)?;
    }
    for (name, columns) in system::tables() {
        let columns = with_flight_metadata(SYSTEM, name, &columns);
        builder.append(CATALOG, SYSTEM, name, SYSTEM_TABLE, &columns)?;
    }
    builder.build()
}

/// Adds the metadata of Flight SQL to each column, which drivers show.
fn with_flight_metadata(schema: &str, table: &str, columns: &Schema) -> Schema {
    let client_types = ClientTypes::of(columns);
    let fields = client_types.schema().fields().iter().zip(columns.fields());
    let fields = fields.map(|(field, column)| {
        let metadata = HashMap::from(
            [
                ("CATALOG_NAME", CATALOG),
                ("DB_SCHEMA_NAME", schema),
                ("TABLE_NAME", table),
                ("TYPE_NAME", type_info::name_of(field.data_type())),
                ("IS_AUTO_INCREMENT", "0"),
                ("IS_CASE_SENSITIVE", "1"),
                ("IS_READ_ONLY", "1"),
                ("IS_SEARCHABLE", "1"),
            ]
            .map(|(key, value)| (format!("ARROW:FLIGHT:SQL:{key}"), value.to_owned())),
        );
        let field = field.as_ref().clone().with_metadata(metadata);
        field.with_nullable(column.is_nullable())
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Primary keys: the lake has none.
pub(crate) fn primary_keys() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ])))
}

/// Foreign keys, in either direction: the lake has none.
pub(crate) fn foreign_keys() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray as _;

    /// The names of the `tables` in `schema`.
    fn names_in(tables: &RecordBatch, schema: &str) -> Vec<String> {
        let (schemas, names) = (tables.column(1), tables.column(2));
        let rows = schemas
            .as_string::<i32>()
            .iter()
            .zip(names.as_string::<i32>());
        let named = rows.filter(|(parent, _)| *parent == Some(schema));
        named
            .filter_map(|(_, name)| name.map(str::to_owned))
            .collect()
    }

    #[test]
    fn tables_are_filtered_by_catalog_patterns_and_type() {
        let check = |catalog: Option<&str>,
                     schema: Option<&str>,
                     table: Option<&str>,
                     types: &[&str],
                     expected: &[&str]| {
            let request = CommandGetTables {
                catalog: catalog.map(str::to_owned),
                db_schema_filter_pattern: schema.map(str::to_owned),
                table_name_filter_pattern: table.map(str::to_owned),
                table_types: types.iter().map(ToString::to_string).collect(),
                include_schema: false,
            };
            let tables = ["weather_forecast", "weather", "dead_letters"];
            let tables = tables.map(|name| (name, Schema::empty()));
            let found = tables_batch(&request, tables.into_iter()).expect("a list");
            assert_eq!(found.schema(), tables_schema(&request));
            assert_eq!(names_in(&found, SCHEMA), expected, "{request:?}");
        };
        let all = ["dead_letters", "weather", "weather_forecast"];
        check(None, None, None, &[], &all);
        check(Some(CATALOG), Some(SCHEMA), Some("%"), &["TABLE"], &all);
        check(None, Some("l_k%"), Some("weather"), &[], &["weather"]);
        check(None, None, Some("weather%"), &[], &all[1..]);
        check(None, None, Some("w_ather"), &[], &["weather"]);
        check(None, None, Some("weather\\_%"), &[], &["weather_forecast"]);
        check(None, None, Some("Weather"), &[], &[]);
        check(None, None, None, &["VIEW"], &[]);
        check(None, None, None, &["VIEW", "TABLE"], &all);
        check(None, Some(SYSTEM), None, &[], &[]);
        check(Some(""), None, None, &[], &[]);
        check(Some("other"), None, None, &[], &[]);
        check(None, Some("other"), None, &[], &[]);
    }

    #[test]
    fn system_tables_have_their_own_table_type() {
        let check = |types: &[&str], expected: &[&str]| {
            let request = CommandGetTables {
                table_types: types.iter().map(ToString::to_string).collect(),
                include_schema: true,
                ..CommandGetTables::default()
            };
            let found = tables_batch(&request, std::iter::empty()).expect("a list");
            assert_eq!(names_in(&found, SYSTEM), expected, "{types:?}");
        };
        check(&[], &["completeness"]);
        check(&["SYSTEM TABLE"], &["completeness"]);
        check(&["TABLE"], &[]);
    }

    #[test]
    fn schemas_are_filtered_too() {
        let check = |pattern: Option<&str>, expected: usize| {
            let request = CommandGetDbSchemas {
                catalog: None,
                db_schema_filter_pattern: pattern.map(str::to_owned),
            };
            assert_eq!(schemas(request).expect("a list").num_rows(), expected);
        };
        check(None, 2);
        check(Some("%"), 2);
        check(Some("_ake"), 1);
        check(Some("system"), 1);
        check(Some("public"), 0);
    }
}
