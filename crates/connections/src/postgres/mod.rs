//! PostgreSQL: connections with time limits, and migrations of our tables. The statements are where
//! the rows are read or written, and `crate::postgres_error` classifies errors.

mod catalogue;
mod lock;
mod migrate;
mod tls;

use std::time::Duration;

use settings::Secret;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};
use tracing::debug;

use self::catalogue::CatalogueState;
pub use self::lock::lock;
pub use self::migrate::migrate;
pub use self::tls::Protection;
use crate::error::Error;
use crate::postgres_error::is_transient;
pub use crate::postgres_error::{RootCertificateError, is_data_error};

/// Reasons of refusals by PostgreSQL only, which tables of the lake accept: an escaped NUL, and
/// everything else that JSONB cannot hold.
pub const POSTGRES_ONLY_REASONS: [&str; 2] = [NUL_CHARACTER, REFUSED];
/// The reason of a message with an escaped NUL.
pub const NUL_CHARACTER: &str = "nul_character";
/// The reason of a message that the server refuses.
pub const REFUSED: &str = "refused_by_postgresql";

/// Time limit of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP keepalive: an idle connection is probed after this time, and given up after as much again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A database, and how to connect to it.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Name of the database.
    pub database: String,
    /// User of the login.
    pub user: String,
    /// Password of the login, if it needs one.
    pub password: Option<Secret>,
    /// Whether and how TLS protects the connection.
    pub protection: Protection,
    /// Time limit of one transaction.
    pub timeout: Duration,
}

impl PostgresOptions {
    /// Host and port, for people.
    pub fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn config(&self, application: &str) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .dbname(&self.database)
            .user(&self.user)
            .application_name(application)
            .ssl_mode(self.protection.mode())
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE_INTERVAL)
            .keepalives_interval(KEEPALIVE_INTERVAL / 3)
            .keepalives_retries(3)
            .tcp_user_timeout(KEEPALIVE_INTERVAL * 2);
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config
    }
}

/// A connection to a database. Dropping it closes it, and rolls back an open transaction.
#[derive(Debug)]
pub struct Database {
    /// Client for statements.
    pub client: Client,
    options: PostgresOptions,
    /// The task that moves bytes between client and server.
    traffic: JoinHandle<()>,
}

impl Drop for Database {
    fn drop(&mut self) {
        self.traffic.abort();
    }
}

impl Database {
    /// Connects with `application` as application name, which tools show.
    ///
    /// # Errors
    /// When no server answers, or it refuses the login.
    pub async fn connect(options: &PostgresOptions, application: &str) -> Result<Self, Error> {
        let config = options.config(application);
        let connector = options.protection.connector();
        let connector = connector.map_err(|source| Error::RootCertificates { source })?;
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(connector));
        let connected = connecting.await.map_err(|_elapsed| Error::PostgresSlow {
            attempt: "take a connection",
            server: options.server(),
            limit: CONNECT_TIMEOUT,
        })?;
        let (client, connection) = connected.map_err(|source| connect_error(options, source))?;
        let traffic = tokio::spawn(async move {
            if let Err(error) = connection.await {
                // The waiting statement fails with it too.
                debug!(%error, "the connection to PostgreSQL ended");
            }
        });
        Ok(Self {
            client,
            options: options.clone(),
            traffic,
        })
    }

    /// Awaits `work` within the time limit of a transaction. `attempt` names it in errors.
    ///
    /// # Errors
    /// When the server refuses, or does not answer within the limit.
    pub async fn with_timeout<T>(
        options: &PostgresOptions,
        attempt: &'static str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let limit = options.timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done.map_err(|source| Error::Postgres {
                attempt,
                server: options.server(),
                source,
            }),
            Err(_elapsed) => Err(Error::PostgresSlow {
                attempt,
                server: options.server(),
                limit,
            }),
        }
    }

    /// Server, database and login.
    pub fn options(&self) -> &PostgresOptions {
        &self.options
    }
}

const VERSION: &str = "SELECT current_setting('server_version')";

/// The version of the server.
///
/// # Errors
/// When no server answers, or it refuses the login.
pub async fn version(options: &PostgresOptions) -> Result<String, Error> {
    let database = Database::connect(options, "isobar check").await?;
    let asked = database.client.query_one(VERSION, &[]);
    let row = Database::with_timeout(options, "ask for the version", asked).await?;
    Ok(row.get(0))
}

/// Describes the database to a user: the version of the server, and which tables it has.
///
/// # Errors
/// When the database does not answer, or table `weather` is another one.
pub async fn describe(options: &PostgresOptions) -> Result<String, Error> {
    let database = Database::connect(options, "isobar check").await?;
    let asked = async {
        let row = database.client.query_one(VERSION, &[]).await?;
        Ok((row.get(0), CatalogueState::inspect(&database.client).await?))
    };
    let (version, found): (String, CatalogueState) =
        Database::with_timeout(options, "inspect the tables", asked).await?;
    found.check(options)?;
    Ok(format!("version {version}, {}", found.describe()))
}

fn connect_error(options: &PostgresOptions, source: tokio_postgres::Error) -> Error {
    let server = options.server();
    if is_tls_error(&source) {
        return Error::PostgresTls { server, source };
    }
    if is_transient(&source) {
        return Error::PostgresConnect { server, source };
    }
    Error::PostgresDenied {
        server,
        user: options.user.clone(),
        database: options.database.clone(),
        source,
    }
}

/// Whether the TLS handshake failed. Only the text of an error tells its kind. A broken connection
/// is not such a failure; rustls reports its errors as invalid data.
fn is_tls_error(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    let broke = cause
        .and_then(|cause| cause.downcast_ref::<std::io::Error>())
        .is_some_and(|cause| cause.kind() != std::io::ErrorKind::InvalidData);
    error.to_string().contains("TLS") && !broke
}
