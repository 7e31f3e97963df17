//! What the stores count, for the metrics of the process.

use std::fmt;
use std::sync::Arc;

use service::metrics::{Collector, ConstCounter, DescriptorEncoder, Metrics, Unit, encode};

use crate::store::Stores;

/// Adds the counters of `stores` to `metrics`.
pub fn register(metrics: &Metrics, stores: &Arc<Stores>) {
    metrics.watch(Storage(Arc::clone(stores)));
}

/// The counters of the stores, read when Prometheus asks.
#[derive(Debug)]
struct Storage(Arc<Stores>);

impl Collector for Storage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = self.0.counters();
        for (name, help, unit, value) in [
            (
                "storage_calls",
                "Calls of the storage",
                None,
                &counters.calls,
            ),
            (
                "storage_failures",
                "Calls of the storage that failed or ran out of time",
                None,
                &counters.failures,
            ),
            (
                "storage_read",
                "Bytes read from the storage",
                Some(&Unit::Bytes),
                &counters.bytes_read,
            ),
            (
                "storage_written",
                "Bytes written to the storage",
                Some(&Unit::Bytes),
                &counters.bytes_written,
            ),
        ] {
            let counter = ConstCounter::new(value.get());
            encode(&mut encoder, name, help, unit, &counter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metrics, Stores, register};
    use crate::StoreOptions;

    #[test]
    fn counters_of_the_stores_are_shown() {
        let metrics = Metrics::new("1.2.3");
        let stores = Stores::new(StoreOptions {
            user: "hadoop".to_owned(),
            limit: Duration::from_secs(1),
        });
        register(&metrics, &stores);
        stores.counters().calls.add(7);
        let text = metrics.text().expect("a string takes everything");
        for line in [
            "isobar_storage_calls_total 7",
            "isobar_storage_read_bytes_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
