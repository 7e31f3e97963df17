//! Health, readiness and metrics over HTTP, for services without a server of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::lake::Lake;
use engine::metrics::Metrics;
use flight_server::http::{self, Readiness};
use ingest::postgres::{PostgresOptions, version};
use ingest::source::kafka::{KafkaOptions, Probe};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The open address, if there is one, and the metrics that it serves.
pub(crate) struct Health {
    listener: Option<TcpListener>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Ready while the service is.
pub(crate) fn service_ready(service: &ingest::health::Health) -> Readiness {
    let service = service.clone();
    Arc::new(move || Box::pin(std::future::ready(service.check())))
}

/// Ready means that the brokers answer and have the topic.
pub(crate) fn brokers_answer(kafka: &KafkaOptions) -> Readiness {
    answers(Probe::new(kafka.clone()))
}

/// Ready means that the brokers answer and have all `topics`.
pub(crate) fn brokers_have(kafka: KafkaOptions, topics: Vec<String>) -> Readiness {
    answers(Probe::new(kafka).of(topics))
}

fn answers(probe: Probe) -> Readiness {
    Arc::new(move || {
        let probe = probe.clone();
        Box::pin(async move {
            let answered = probe.partitions().await;
            answered.map(drop).map_err(|error| error.to_string())
        })
    })
}

/// Ready means that the database accepts the login and answers.
pub(crate) fn database_answers(postgres: &PostgresOptions) -> Readiness {
    let postgres = postgres.clone();
    Arc::new(move || {
        let postgres = postgres.clone();
        Box::pin(async move {
            let answered = version(&postgres).await;
            answered.map(drop).map_err(|error| error.to_string())
        })
    })
}

/// Ready when `one` and `other` are.
pub(crate) fn both(one: Readiness, other: Readiness) -> Readiness {
    Arc::new(move || {
        let (one, other) = (one(), other());
        Box::pin(async { tokio::try_join!(one, other).map(drop) })
    })
}

impl Health {
    /// Opens the address that `key` of the configuration names.
    pub(crate) async fn listen(key: &'static str, address: SocketAddr) -> anyhow::Result<Self> {
        let listener = http::listen(key, address).await?;
        info!(http = %listener.local_addr()?, "listening");
        Ok(Self {
            listener: Some(listener),
            ..Self::silent()
        })
    }

    /// Serves nothing.
    pub(crate) fn silent() -> Self {
        Self {
            listener: None,
            metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
        }
    }

    /// Counts the calls of the storage of `lake` from now on.
    pub(crate) fn watching(self, lake: &Lake) -> Self {
        self.metrics.watch(lake.stores());
        self
    }

    /// Runs `work`, and serves HTTP until it ends. After `shutdown` the service is not ready.
    pub(crate) async fn beside<T>(
        self,
        ready: Readiness,
        shutdown: CancellationToken,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let Some(listener) = self.listener else {
            return work.await;
        };
        let ended = CancellationToken::new();
        let ready = http::unless_stopping(shutdown, ready);
        let answering = http::run(listener, ready, self.metrics, ended.clone());
        let answering = async { Ok(answering.await?) };
        let work = async {
            let done = work.await;
            ended.cancel();
            done
        };
        let ((), done) = tokio::try_join!(answering, work)?;
        Ok(done)
    }
}
