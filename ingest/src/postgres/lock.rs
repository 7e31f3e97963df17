//! One service of a kind for each topic: a lock that PostgreSQL holds for as long as the connection lives.

use tokio_postgres::error::SqlState;

use super::Database;
use crate::error::Error;

/// How long a killed predecessor is given to be noticed by the server.
const WAIT: &str = "SET lock_timeout = '10s'";
const GO_ON: &str = "RESET lock_timeout";

/// Takes the lock of `service` on `topic` for the rest of the connection.
///
/// Nothing depends on it for what is stored: rows have a key, and positions only grow. Two services would undo each
/// other's work, and two exports name each other's files.
///
/// # Errors
/// [`Error::Occupied`] when another one holds it.
pub(crate) async fn lock(
    database: &Database,
    service: &'static str,
    topic: &str,
) -> Result<(), Error> {
    let key = format!("isobar {service} {topic}");
    let take = async {
        let client = &database.client;
        client.batch_execute(WAIT).await?;
        let statement = "SELECT pg_advisory_lock(hashtextextended($1, 0))";
        client.execute(statement, &[&key]).await?;
        client.batch_execute(GO_ON).await
    };
    let taken = Database::within(database.options(), "take the lock of a service", take).await;
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
