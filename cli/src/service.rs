//! What services that run beside nobody have in common: health, readiness and metrics while they work.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::config::{Postgres, SslMode};
use engine::metrics::Metrics;
use flight_server::http;
use ingest::health::Health;
use ingest::postgres::{PostgresOptions, Protection};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How the configured database is reached.
pub(crate) fn postgres(config: &Postgres) -> PostgresOptions {
    PostgresOptions {
        host: config.host.clone(),
        port: config.port,
        database: config.database.clone(),
        user: config.user.clone(),
        password: config.password.clone(),
        protection: match config.sslmode {
            SslMode::Disable => Protection::Disable,
            SslMode::Prefer => Protection::Prefer,
            SslMode::Require => Protection::Require,
            SslMode::VerifyFull => Protection::VerifyFull {
                roots: config.root_certificate.clone(),
            },
        },
        timeout: config.timeout,
    }
}

/// Does `work`, and answers at the address that `key` of the configuration names until it is done.
pub(crate) async fn watched<T>(
    key: &'static str,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    health: &Health,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let listener = http::listen(key, address).await?;
    info!(http = %listener.local_addr()?, "answering");
    let health = health.clone();
    let ready: http::Readiness = Arc::new(move || Box::pin(std::future::ready(health.check())));
    let ended = CancellationToken::new();
    let answers = async {
        let answered = http::run(listener, ready, metrics, ended.clone()).await;
        Ok(answered?)
    };
    let work = async {
        let done = work.await;
        ended.cancel();
        done
    };
    let (done, ()) = tokio::try_join!(work, answers)?;
    Ok(done)
}
