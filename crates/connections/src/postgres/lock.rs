//! A lock that allows one service of a kind for each topic. PostgreSQL holds it while the
//! connection is open.

use tokio_postgres::error::SqlState;

use super::Database;
use crate::error::Error;

/// How long to wait until the server notices the end of a killed process.
const WAIT: &str = "SET lock_timeout = '10s'";
const RESET: &str = "RESET lock_timeout";

/// Takes the lock of `service` on `topic` for the rest of the connection.
///
/// Stored rows are correct without it: they have a key, and positions only grow. But two services
/// would repeat each other's work, and two exports would use the same file names.
///
/// # Errors
/// [`Error::Occupied`] when another process holds it.
pub async fn lock(database: &Database, service: &'static str, topic: &str) -> Result<(), Error> {
    let key = format!("isobar {service} {topic}");
    let take = async {
        let client = &database.client;
        client.batch_execute(WAIT).await?;
        let statement = "SELECT pg_advisory_lock(hashtextextended($1, 0))";
        client.execute(statement, &[&key]).await?;
        client.batch_execute(RESET).await
    };
    let taken =
        Database::with_timeout(database.options(), "take the lock of a service", take).await;
    match taken {
        Err(Error::Postgres { source, .. })
            if source.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) =>
        {
            Err(Error::Occupied {
                service,
                topic: topic.to_owned(),
                server: database.options().server(),
            })
        }
        taken => taken,
    }
}
