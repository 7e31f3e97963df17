//! Migrations of our tables. Each version is a file of SQL that runs once, in one transaction with
//! the versions before it.
//!
//! Version 1 is the table of the legacy pipeline, which is migrated in place. A user may return to
//! that pipeline, restore its table and come back. Migration therefore inspects the tables, and
//! does not rely on the recorded version alone.

use std::time::Duration;

use tokio_postgres::Transaction;
use tracing::{info, warn};

use super::Database;
use super::catalogue::{CatalogueState, LEGACY_MIGRATION};
use crate::error::Error;

/// A version of the tables. Its number is its index in [`VERSIONS`], from 1.
struct Version {
    /// Persisted in `isobar.schema_version`, and therefore never reworded.
    name: &'static str,
    statements: &'static str,
}

const VERSIONS: [Version; 4] = [
    Version {
        name: "the table of the older pipeline",
        statements: include_str!("migrations/0001_legacy_table.sql"),
    },
    Version {
        name: "identities, positions and dead letters",
        statements: concat!(
            include_str!("migrations/weather_rows.sql"),
            include_str!("migrations/0002_identity.sql")
        ),
    },
    Version {
        name: "exports",
        statements: concat!(
            include_str!("migrations/0003_exports.sql"),
            include_str!("migrations/ref_date.sql")
        ),
    },
    Version {
        name: "the schema of table weather",
        statements: concat!(
            include_str!("migrations/0004_schema.sql"),
            include_str!("migrations/schema_of_weather.sql")
        ),
    },
];

/// Migrates a dump of the legacy table that was restored in place of ours.
const RESTORED: &str = concat!(
    include_str!("migrations/0001_legacy_table.sql"),
    include_str!("migrations/weather_rows.sql"),
    include_str!("migrations/restored.sql"),
    include_str!("migrations/schema_of_weather.sql")
);
/// The same for `ref_date`.
const REF_DATE: &str = include_str!("migrations/ref_date.sql");

/// Time limit of a migration, which rewrites tables with many rows.
const LIMIT: Duration = Duration::from_secs(6 * 3600);

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('isobar migrate', 0))";

/// Conditional: CREATE SCHEMA IF NOT EXISTS needs the right to create schemas even where an
/// administrator has created ours.
const SCHEMA: &str = "
DO $$ BEGIN
    IF to_regnamespace('isobar') IS NULL THEN
        CREATE SCHEMA isobar;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS isobar.schema_version (
    version INT PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)";

const HAS_ROWS: &str = "SELECT EXISTS (SELECT FROM weather)";

/// Migrates the tables to the newest version. If they have it, the right to read is enough. Rows
/// without a topic become rows of `topic`.
///
/// # Errors
/// When the tables are newer than this program, table `weather` is another one, or the server
/// refuses.
pub async fn migrate(database: &mut Database, topic: &str) -> Result<(), Error> {
    let server = database.options().server();
    let migrated = tokio::time::timeout(LIMIT, migrate_to_newest(database, topic)).await;
    migrated.unwrap_or_else(|_elapsed| {
        Err(Error::PostgresSlow {
            attempt: ATTEMPT,
            server,
            limit: LIMIT,
        })
    })
}

const ATTEMPT: &str = "bring the tables to the newest version";

async fn migrate_to_newest(database: &mut Database, topic: &str) -> Result<(), Error> {
    let options = database.options().clone();
    let known = i32::try_from(VERSIONS.len()).unwrap_or(i32::MAX);
    let failed = |source| Error::Postgres {
        attempt: ATTEMPT,
        server: options.server(),
        source,
    };
    let client = &mut database.client;
    let found = CatalogueState::inspect(client).await.map_err(failed)?;
    found.check(&options)?;
    if found.version == known && found.is_ours() {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute(LOCK, &[]).await.map_err(failed)?;
    // Another process may have migrated meanwhile.
    let found = CatalogueState::inspect(&transaction)
        .await
        .map_err(failed)?;
    if found.version > known {
        return Err(Error::SchemaNewer {
            server: options.server(),
            found: found.version,
            known,
        });
    }
    if is_shadowed(&transaction, &found).await.map_err(failed)? {
        return Err(found.wrong_schema_error(&options));
    }
    apply_missing(&transaction, &found, topic)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Whether the table to migrate is empty while another schema has one of the same name: then
/// `search_path` is probably wrong.
async fn is_shadowed(
    transaction: &Transaction<'_>,
    found: &CatalogueState,
) -> Result<bool, tokio_postgres::Error> {
    let migrates_legacy = found.version < LEGACY_MIGRATION || found.was_restored();
    if !migrates_legacy || found.other_schemas().next().is_none() {
        return Ok(false);
    }
    let has_rows: bool = transaction.query_one(HAS_ROWS, &[]).await?.get(0);
    if has_rows {
        let others: Vec<_> = found.other_schemas().collect();
        warn!(
            ?others,
            "other schemas have a table \"weather\" too, which is not changed"
        );
    }
    Ok(!has_rows)
}

/// Applies the missing versions, and migrates a restored legacy table.
async fn apply_missing(
    transaction: &Transaction<'_>,
    found: &CatalogueState,
    topic: &str,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(SCHEMA).await?;
    // The only value that the SQL files need, bound and not formatted into them.
    transaction
        .execute("SELECT set_config('isobar.topic', $1, true)", &[&topic])
        .await?;
    for (version, number) in VERSIONS.iter().zip(1..) {
        if number > found.version {
            apply(transaction, version, number).await?;
        }
    }
    if found.was_restored() {
        migrate_restored(transaction, found).await?;
    }
    Ok(())
}

/// Migrates tables of the legacy pipeline that were restored in place of ours.
async fn migrate_restored(
    transaction: &Transaction<'_>,
    found: &CatalogueState,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(REF_DATE).await?;
    if found.weather_is_ours() {
        return Ok(());
    }
    transaction.batch_execute(RESTORED).await?;
    warn!(
        "table \"weather\" was the legacy pipeline's again, and is taken over again: topics are consumed from the first message that Kafka has, and the files of earlier exports are read"
    );
    report_migrated_rows(transaction).await
}

async fn apply(
    transaction: &Transaction<'_>,
    version: &Version,
    number: i32,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(version.statements).await?;
    transaction
        .execute(
            "INSERT INTO isobar.schema_version (version, name) VALUES ($1, $2)",
            &[&number, &version.name],
        )
        .await?;
    info!(
        version = number,
        name = version.name,
        "the tables in PostgreSQL have a new version"
    );
    if number == LEGACY_MIGRATION {
        report_migrated_rows(transaction).await?;
    }
    Ok(())
}

/// Logs what the migration did with the present rows.
async fn report_migrated_rows(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let kept = transaction
        .query_one("SELECT count(*) FROM weather", &[])
        .await?;
    let kept: i64 = kept.get(0);
    if kept > 0 {
        info!(rows = kept, "took over the rows of table \"weather\"");
    }
    let aside = "SELECT reason, count(*) FROM isobar.set_aside GROUP BY reason ORDER BY reason";
    for row in transaction.query(aside, &[]).await? {
        let (reason, rows): (&str, i64) = (row.get(0), row.get(1));
        warn!(
            rows,
            reason, "moved rows of table \"weather\" to table isobar.set_aside"
        );
    }
    Ok(())
}
