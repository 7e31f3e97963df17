//! Inspects a database: it may have no table, that of the legacy pipeline, ours, or a restored dump
//! of the legacy table in place of ours. Inspection changes nothing, and needs the right to read
//! only.

use tokio_postgres::{GenericClient, Row};

use super::PostgresOptions;
use crate::error::Error;

/// Reads the catalogue: our schema, the schema in which `search_path` finds table `weather`, other
/// schemas with that name, and the columns that distinguish our tables from those of the legacy
/// pipeline.
const CATALOGUE: &str = "
WITH tables AS (
    SELECT pg_class.oid, nspname::TEXT AS schema
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relname = 'weather' AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relpersistence <> 't'
)
SELECT
    to_regclass('isobar.schema_version') IS NOT NULL,
    (SELECT schema FROM tables WHERE oid = to_regclass('weather')),
    ARRAY(SELECT schema FROM tables ORDER BY schema),
    ARRAY(
        SELECT attname::TEXT FROM pg_attribute
        WHERE attrelid = to_regclass('weather') AND attnum > 0 AND NOT attisdropped
    ),
    to_regclass('ref_date') IS NULL OR EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('ref_date') AND attname = 'application_name' AND NOT attisdropped
    )";

const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM isobar.schema_version";

const HOME: &str = "SELECT max(weather_schema) FROM isobar.schema_version";
/// The version that records the schema of table `weather`.
const HOME_MIGRATION: i32 = 4;

/// The version that migrates the rows of the legacy pipeline, and the one that adds `ref_date`.
pub(super) const LEGACY_MIGRATION: i32 = 2;
const REF_DATE_MIGRATION: i32 = 3;

/// The columns of the legacy table, and those that our version adds.
const LEGACY_COLUMNS: [&str; 4] = ["date_time", "msg_offset", "partition", "value"];
const ADDED_COLUMNS: [&str; 2] = ["topic", "event_time"];

/// The result of the inspection.
#[derive(Debug, Default)]
pub(crate) struct CatalogueState {
    /// Version of our tables; 0 without any.
    pub(super) version: i32,
    /// The schema in which `search_path` finds table `weather`.
    schema: Option<String>,
    /// All schemas with a table of that name.
    schemas: Vec<String>,
    /// The schema whose table was migrated.
    home: Option<String>,
    /// Columns of the table that `search_path` finds.
    columns: Vec<String>,
    ref_date_is_ours: bool,
}

impl CatalogueState {
    /// Inspects the database.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn inspect(
        client: &impl GenericClient,
    ) -> Result<Self, tokio_postgres::Error> {
        let row = client.query_one(CATALOGUE, &[]).await?;
        let mut found = Self::of(&row);
        if row.get(0) {
            found.version = client.query_one(NEWEST, &[]).await?.get(0);
        }
        if found.version >= HOME_MIGRATION {
            found.home = client.query_one(HOME, &[]).await?.get(0);
        }
        Ok(found)
    }

    fn of(row: &Row) -> Self {
        Self {
            version: 0,
            schema: row.get(1),
            schemas: row.get(2),
            home: None,
            columns: row.get(3),
            ref_date_is_ours: row.get(4),
        }
    }

    /// Whether table `weather` and `ref_date` have the form that our version of them has.
    pub(super) fn is_ours(&self) -> bool {
        self.weather_is_ours() && (self.ref_date_is_ours || self.version < REF_DATE_MIGRATION)
    }

    pub(super) fn weather_is_ours(&self) -> bool {
        ADDED_COLUMNS.iter().all(|name| self.has(name))
    }

    /// Whether the legacy table is in place of ours.
    pub(super) fn was_restored(&self) -> bool {
        self.version >= LEGACY_MIGRATION && !self.is_ours()
    }

    /// Other schemas that have a table `weather`.
    pub(super) fn other_schemas(&self) -> impl Iterator<Item = &str> {
        let others = self
            .schemas
            .iter()
            .filter(|schema| Some(*schema) != self.schema.as_ref());
        others.map(String::as_str)
    }

    /// Checks that table `weather`, if it exists, is the right one, and can be migrated or read.
    ///
    /// # Errors
    /// When it is another one; the error names the schema with the right one.
    pub(super) fn check(&self, options: &PostgresOptions) -> Result<(), Error> {
        let home = self.home.as_ref();
        let home = home.filter(|home| self.schemas.contains(home));
        let is_elsewhere = match home {
            Some(home) => self.schema.as_ref() != Some(home),
            None => self.schema.is_none() && !self.schemas.is_empty(),
        };
        if is_elsewhere {
            return Err(self.wrong_schema_error(options));
        }
        let missing: Vec<_> = LEGACY_COLUMNS
            .iter()
            .filter(|name| !self.has(name))
            .copied()
            .collect();
        match &self.schema {
            Some(schema) if !missing.is_empty() => Err(Error::OtherTable {
                server: options.server(),
                schema: schema.clone(),
                missing: missing.join(", "),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The error that `search_path` leads to another table.
    pub(super) fn wrong_schema_error(&self, options: &PostgresOptions) -> Error {
        let home = match &self.home {
            Some(home) => home.clone(),
            None => self.other_schemas().collect::<Vec<_>>().join("\", \""),
        };
        let seen = match &self.schema {
            Some(schema) => format!("another one in schema \"{schema}\""),
            None => "none".to_owned(),
        };
        Error::Elsewhere {
            server: options.server(),
            user: options.user.clone(),
            home,
            seen,
        }
    }

    /// Describes the tables to a user.
    pub(super) fn describe(&self) -> String {
        if self.was_restored() && self.schema.is_some() {
            return "table weather is the legacy pipeline's again, and is taken over again by the first command that uses it".to_owned();
        }
        match (self.version, &self.schema) {
            (0, None) => "tables are created by the first command that uses them".to_owned(),
            (0, Some(_)) => "table weather of the legacy pipeline is taken over by the first command that uses it".to_owned(),
            (version, _) => format!("tables of version {version}"),
        }
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }
}
