//! What clients ask about the lake before they ask for rows: catalogs, schemas, tables, keys.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{GetCatalogsBuilder, GetTablesBuilder};
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use engine::Error;
use engine::lake::{Lake, TableName};
use engine::session::{CATALOG, SCHEMA};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tonic::Status;
use tracing::warn;

use crate::status;
use crate::type_info;
use crate::wire::Wire;

/// The one type of tables that the lake has.
const TABLE: &str = "TABLE";
/// How many tables are opened side by side for their columns.
const OPEN_CONCURRENCY: usize = 8;

pub(crate) fn catalogs() -> Result<RecordBatch, FlightError> {
    let mut catalogs = GetCatalogsBuilder::new();
    catalogs.append(CATALOG);
    catalogs.build()
}

pub(crate) fn schemas(asked: CommandGetDbSchemas) -> Result<RecordBatch, FlightError> {
    let mut schemas = asked.into_builder();
    schemas.append(CATALOG, SCHEMA);
    schemas.build()
}

pub(crate) fn table_types() -> Result<RecordBatch, FlightError> {
    let schema = Schema::new(vec![Field::new("table_type", DataType::Utf8, false)]);
    let types = arrow::array::StringArray::from(vec![TABLE]);
    Ok(RecordBatch::try_new(schema.into(), vec![Arc::new(types)])?)
}

/// The schema of [`tables`].
pub(crate) fn tables_schema(asked: &CommandGetTables) -> SchemaRef {
    GetTablesBuilder::from(asked.clone()).schema()
}

/// The tables of the lake that fit the patterns.
pub(crate) async fn tables(lake: &Lake, asked: CommandGetTables) -> Result<RecordBatch, Status> {
    let names = lake.tables().await.map_err(|error| status::of(&error))?;
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let fitting = listed(
        &asked,
        names.iter().map(|name| (name.as_str(), Schema::empty())),
    );
    let fitting = fitting.map_err(|error| status::internal(&error))?;
    if !asked.include_schema {
        return Ok(fitting);
    }
    // Only what fits is opened.
    let fitting = names_in(&fitting);
    let columns = stream::iter(fitting)
        .map(|name| async move {
            let columns = columns_of(lake, &name).await?;
            Ok::<_, Error>((name, columns))
        })
        .buffered(OPEN_CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await
        .map_err(|error| status::of(&error))?;
    let rows = columns
        .iter()
        .map(|(name, columns)| (name.as_str(), columns.clone()));
    listed(&asked, rows).map_err(|error| status::internal(&error))
}

fn listed<'a>(
    asked: &CommandGetTables,
    tables: impl Iterator<Item = (&'a str, Schema)>,
) -> Result<RecordBatch, FlightError> {
    let mut builder = GetTablesBuilder::from(asked.clone());
    for (name, columns) in tables {
        builder.append(CATALOG, SCHEMA, name, TABLE, &columns)?;
    }
    builder.build()
}

fn names_in(tables: &RecordBatch) -> Vec<String> {
    use arrow::array::AsArray as _;
    let names = tables.column(2).as_string::<i32>();
    names.iter().flatten().map(str::to_owned).collect()
}

/// The columns of a table as clients meet them. One that cannot be read is listed without any: it must not hide
/// the others.
async fn columns_of(lake: &Lake, name: &str) -> Result<Schema, Error> {
    let table: TableName = name.parse()?;
    match lake.snapshot(&table).await {
        Ok(Some(snapshot)) => Ok(described(name, &snapshot.columns())),
        Ok(None) => Ok(Schema::empty()),
        Err(error @ Error::UnsupportedTable { .. }) => {
            warn!(table = name, "{error}");
            Ok(Schema::empty())
        }
        Err(error) => Err(error),
    }
}

/// Adds to each column what drivers show of it.
fn described(table: &str, columns: &Schema) -> Schema {
    let wire = Wire::of(columns);
    let fields = wire.schema().fields().iter().map(|field| {
        let about = HashMap::from(
            [
                ("CATALOG_NAME", CATALOG),
                ("DB_SCHEMA_NAME", SCHEMA),
                ("TABLE_NAME", table),
                ("TYPE_NAME", type_info::name_of(field.data_type())),
                ("IS_AUTO_INCREMENT", "0"),
                ("IS_CASE_SENSITIVE", "1"),
                ("IS_READ_ONLY", "1"),
                ("IS_SEARCHABLE", "1"),
            ]
            .map(|(key, value)| (format!("ARROW:FLIGHT:SQL:{key}"), value.to_owned())),
        );
        field.as_ref().clone().with_metadata(about)
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

/// Foreign keys, in whichever direction: the lake has none.
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

    #[test]
    fn tables_are_filtered_by_catalog_patterns_and_type() {
        let check = |catalog: Option<&str>,
                     schema: Option<&str>,
                     table: Option<&str>,
                     types: &[&str],
                     expected: &[&str]| {
            let asked = CommandGetTables {
                catalog: catalog.map(str::to_owned),
                db_schema_filter_pattern: schema.map(str::to_owned),
                table_name_filter_pattern: table.map(str::to_owned),
                table_types: types.iter().map(ToString::to_string).collect(),
                include_schema: false,
            };
            let tables = ["weather_forecast", "weather", "dead_letters"];
            let tables = tables.map(|name| (name, Schema::empty()));
            let found = listed(&asked, tables.into_iter()).expect("a list");
            assert_eq!(found.schema(), tables_schema(&asked));
            assert_eq!(names_in(&found), expected, "{asked:?}");
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
        check(Some(""), None, None, &[], &[]);
        check(Some("other"), None, None, &[], &[]);
        check(None, Some("other"), None, &[], &[]);
    }

    #[test]
    fn schemas_are_filtered_too() {
        let check = |pattern: Option<&str>, expected: usize| {
            let asked = CommandGetDbSchemas {
                catalog: None,
                db_schema_filter_pattern: pattern.map(str::to_owned),
            };
            assert_eq!(schemas(asked).expect("a list").num_rows(), expected);
        };
        check(None, 1);
        check(Some("%"), 1);
        check(Some("_ake"), 1);
        check(Some("public"), 0);
    }
}
