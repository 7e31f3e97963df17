//! Whether the servers answer that a service needs.

use std::sync::Arc;

use connections::kafka::{KafkaOptions, Probe};
use connections::postgres::{PostgresOptions, version};
use service::error_chain;
use service::readiness::Readiness;

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
            outcome.map(drop).map_err(|error| error_chain(&error))
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
            outcome.map(drop).map_err(|error| error_chain(&error))
        })
    })
}
