//! What the column cache counts, for the metrics of the process.

use std::fmt;
use std::sync::Arc;

use service::metrics::{
    Collector, ConstCounter, ConstGauge, DescriptorEncoder, Metrics, Unit, encode,
};

use crate::runtime::Runtime;

/// Adds the counters of the column cache of `runtime` to `metrics`.
pub fn register(metrics: &Metrics, runtime: &Arc<Runtime>) {
    metrics.watch(Columns(Arc::clone(runtime)));
}

/// What the cache of columns counts, read when Prometheus asks.
#[derive(Debug)]
struct Columns(Arc<Runtime>);

impl Collector for Columns {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let columns = self.0.column_cache().usage();
        encode(
            &mut encoder,
            "column_cache",
            "Memory of the decoded columns that are kept for the next statement",
            Some(&Unit::Bytes),
            &ConstGauge::new(columns.bytes),
        )?;
        for (name, help, value) in [
            (
                "column_cache_hits",
                "Scans of a data file whose columns were all in memory",
                columns.hits,
            ),
            (
                "column_cache_misses",
                "Scans of a data file that had to decode columns",
                columns.misses,
            ),
        ] {
            encode(&mut encoder, name, help, None, &ConstCounter::new(value))?;
        }
        Ok(())
    }
}
