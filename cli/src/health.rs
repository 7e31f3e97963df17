//! Health, readiness and metrics over HTTP, for services other than the Flight SQL server.

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

/// The HTTP listener, if there is one, and the metrics that it serves.
pub(crate) struct Health {
    listener: Option<TcpListener>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Ready when the service reports that it is.
pub(crate) fn service_ready(service: &ingest::health::Health) -> Readiness {
    let service = service.clone();
    Arc::new(move || Box::pin(std::future::ready(service.check())))
}

/// Ready when the brokers answer and have the topic.
pub(crate) fn topic_ready(kafka: &KafkaOptions) -> Readiness {
    probe_ready(Probe::new(kafka.clone()))
}

/// Ready when the brokers answer and have all `topics`.
pub(crate) fn topics_ready(kafka: KafkaOptions, topics: Vec<String>) -> Readiness {
    probe_ready(Probe::new(kafka).of(topics))
}

fn probe_ready(probe: Probe) -> Readiness {
    Arc::new(move || {
        let probe = probe.clone();
        Box::pin(async move {
            let outcome = probe.partitions().await;
            outcome.map(drop).map_err(|error| error.to_string())
        })
    })
}

/// Ready when the database accepts the login and answers.
pub(crate) fn database_ready(postgres: &PostgresOptions) -> Readiness {
    let postgres = postgres.clone();
    Arc::new(move || {
        let postgres = postgres.clone();
        Box::pin(async move {
            let outcome = version(&postgres).await;
            outcome.map(drop).map_err(|error| error.to_string())
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
    /// Listens on `address`, which `key` of the configuration sets.
    pub(crate) async fn listen(key: &'static str, address: SocketAddr) -> anyhow::Result<Self> {
        let listener = http::listen(key, address).await?;
        info!(http = %listener.local_addr()?, "listening");
        Ok(Self {
            listener: Some(listener),
            ..Self::disabled()
        })
    }

    /// Collects metrics and serves nothing.
    pub(crate) fn disabled() -> Self {
        Self {
            listener: None,
            metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
        }
    }

    /// Adds the metrics of the storage of `lake`.
    pub(crate) fn with_storage_metrics(self, lake: &Lake) -> Self {
        self.metrics.watch(lake.stores());
        self
    }

    /// Runs `work`, and serves HTTP until it ends. After `shutdown` the service is not ready.
    pub(crate) async fn run_with<T>(
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
        let serving = http::run(listener, ready, self.metrics, ended.clone());
        let serving = async { Ok(serving.await?) };
        let work = async {
            let done = work.await;
            ended.cancel();
            done
        };
        let ((), done) = tokio::try_join!(serving, work)?;
        Ok(done)
    }
}
