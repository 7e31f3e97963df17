//! The metrics of connections. Those of statements are the query service's.

use service::metrics::{Counter, Gauge, Metrics};

/// The counters of connections; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionCounters {
    pub(crate) open: Gauge,
    pub(crate) refused: Counter,
}

impl ConnectionCounters {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let counters = Self {
            open: Gauge::default(),
            refused: Counter::default(),
        };
        metrics.register(
            "connections",
            "Connections of Flight SQL that are open now",
            counters.open.clone(),
        );
        metrics.register(
            "connections_refused",
            "Connections closed and requests refused because too many connections were open",
            counters.refused.clone(),
        );
        counters
    }
}
