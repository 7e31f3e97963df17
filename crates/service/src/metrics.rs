//! The metrics of a process: one registry, to which every crate adds what it counts.
//!
//! Only this module knows the library behind it and the text that Prometheus reads. It counts
//! nothing itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use prometheus_client::collector::Collector;
pub use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
pub use prometheus_client::metrics::counter::{ConstCounter, Counter};
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
pub use prometheus_client::registry::{Metric, Unit};

/// What every name begins with.
const PREFIX: &str = "isobar";

/// The type of what [`Metrics::text`] returns, for the header of an answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One metric for each value of one label. Values are constants: a label that follows the input
/// would grow without end.
pub type ByLabel<M> = Family<[(&'static str, &'static str); 1], M>;

/// One metric for each combination of values of `N` labels. Values are names of which configuration
/// and declarations have so many: tables, topic partitions.
pub type ByName<M, const N: usize = 1> = Family<[(&'static str, String); N], M>;

/// The registry of a process.
#[derive(Debug)]
pub struct Metrics(Mutex<Registry>);

impl Metrics {
    /// A registry that says which build it belongs to.
    pub fn new(version: &'static str) -> Arc<Self> {
        let metrics = Self(Mutex::new(Registry::with_prefix(PREFIX)));
        let build = ByLabel::<Gauge>::default();
        build.get_or_create(&[("version", version)]).set(1);
        metrics.register("build", "The version that runs", build);
        Arc::new(metrics)
    }

    /// Shows `metric`, of which the caller keeps a clone, as `isobar_<name>`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.lock().register(name, help, metric);
    }

    /// Shows `metric` as `isobar_<name>_<unit>`.
    pub fn register_with_unit(&self, name: &str, help: &str, unit: Unit, metric: impl Metric) {
        self.lock().register_with_unit(name, help, unit, metric);
    }

    /// Shows what `collector` counts, read when Prometheus asks.
    pub fn watch(&self, collector: impl Collector) {
        self.lock().register_collector(Box::new(collector));
    }

    /// Everything registered, as it stands now, in the text format of OpenMetrics.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.lock())?;
        Ok(text)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Encodes one `metric` of a [`Collector`].
///
/// # Errors
/// When the text cannot be written.
pub fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::{ByLabel, Counter, Metrics, Unit};

    #[test]
    fn what_is_registered_is_shown_as_it_stands() {
        let metrics = Metrics::new("1.2.3");
        let (rows, sent) = (ByLabel::<Counter>::default(), <Counter>::default());
        metrics.register("rows", "Rows", rows.clone());
        metrics.register_with_unit("sent", "Sent", Unit::Bytes, sent.clone());
        rows.get_or_create(&[("outcome", "ok")]).inc_by(3);
        sent.inc_by(5);
        let text = metrics.text().expect("a string takes everything");
        for line in [
            "isobar_build{version=\"1.2.3\"} 1",
            "isobar_rows_total{outcome=\"ok\"} 3",
            "isobar_sent_bytes_total 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
