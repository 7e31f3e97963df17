//! The versions of our tables: each a file of SQL, run once, in one transaction with the ones before it.
//!
//! Version 1 is what the older pipeline left, so that its table is taken over where it stands.

use std::time::Duration;

use tokio_postgres::Transaction;
use tracing::{info, warn};

use super::Database;
use crate::error::Error;

/// A version of the tables, by its place in [`VERSIONS`], from 1.
struct Version {
    name: &'static str,
    statements: &'static str,
}

const VERSIONS: [Version; 3] = [
    Version {
        name: "the table of the older pipeline",
        statements: include_str!("migrations/0001_older_table.sql"),
    },
    Version {
        name: "identities, positions and dead letters",
        statements: include_str!("migrations/0002_identity.sql"),
    },
    Version {
        name: "exports",
        statements: include_str!("migrations/0003_exports.sql"),
    },
];

/// The version that has something to say about the rows that were there before.
const TAKES_OVER: i32 = 2;

/// Tables are rewritten once, which takes its time where there are many rows.
const LIMIT: Duration = Duration::from_secs(6 * 3600);

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('isobar migrate', 0))";

/// By itself this would ask for the right to create schemas also where an administrator has made ours.
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

/// Of tables that have a version at all.
const IS_THERE: &str = "SELECT to_regclass('isobar.schema_version') IS NOT NULL";
const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM isobar.schema_version";

/// Brings the tables to the newest version; who finds them there needs no more than the right to read. Rows that are
/// there without a topic are of `topic`.
///
/// # Errors
/// When they are of a version that is newer than this program, or the server refuses.
pub(crate) async fn migrate(database: &mut Database, topic: &str) -> Result<(), Error> {
    let options = database.options().clone();
    let known = i32::try_from(VERSIONS.len()).unwrap_or(i32::MAX);
    let failed = |source| Error::Postgres {
        attempt: "bring the tables to the newest version",
        server: options.server(),
        source,
    };
    let migrating = async {
        let client = &mut database.client;
        let is_there = client.query_one(IS_THERE, &[]).await.map_err(failed)?;
        if is_there.get(0) {
            let newest = client.query_one(NEWEST, &[]).await.map_err(failed)?;
            if newest.get::<_, i32>(0) == known {
                return Ok(());
            }
        }
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.execute(LOCK, &[]).await.map_err(failed)?;
        transaction.batch_execute(SCHEMA).await.map_err(failed)?;
        let newest = transaction.query_one(NEWEST, &[]).await.map_err(failed)?;
        let found: i32 = newest.get(0);
        if found > known {
            return Err(Error::SchemaNewer {
                server: options.server(),
                found,
                known,
            });
        }
        for (version, number) in VERSIONS.iter().zip(1..) {
            if number > found {
                let applied = apply(&transaction, version, number, topic).await;
                applied.map_err(failed)?;
            }
        }
        transaction.commit().await.map_err(failed)
    };
    let migrated = tokio::time::timeout(LIMIT, migrating).await;
    migrated.unwrap_or_else(|_elapsed| {
        Err(Error::PostgresSlow {
            attempt: "bring the tables to the newest version",
            server: options.server(),
            limit: LIMIT,
        })
    })
}

async fn apply(
    transaction: &Transaction<'_>,
    version: &Version,
    number: i32,
    topic: &str,
) -> Result<(), tokio_postgres::Error> {
    // The one value that a file of statements needs, bound and not pasted.
    transaction
        .execute("SELECT set_config('isobar.topic', $1, true)", &[&topic])
        .await?;
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
    if number == TAKES_OVER {
        report_taken_over(transaction).await?;
    }
    Ok(())
}

/// Says what became of the rows that were there before.
async fn report_taken_over(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
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
