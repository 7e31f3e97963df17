//! What an export counts, for those who watch it.

use chrono::Utc;
use engine::metrics::{Counter, Gauge, Metrics, Unit};

use super::Exported;

/// Counters of an export. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    rows: Counter,
    files: Counter,
    pub(super) retries: Counter,
    exported: Gauge,
}

impl Counters {
    /// Shows them as `isobar_export_…`.
    pub fn register(metrics: &Metrics) -> Self {
        let counters = Self::default();
        metrics.register(
            "export_rows",
            "Rows that were exported",
            counters.rows.clone(),
        );
        metrics.register(
            "export_files",
            "Files that were written",
            counters.files.clone(),
        );
        metrics.register(
            "export_retries",
            "How often the service began anew, because PostgreSQL or the storage was away",
            counters.retries.clone(),
        );
        metrics.register_with_unit(
            "export_exported_timestamp",
            "When rows were exported last",
            Unit::Seconds,
            counters.exported.clone(),
        );
        counters
    }

    pub(super) fn exported(&self, exported: &Exported) {
        self.rows.inc_by(exported.rows);
        self.files.inc_by(exported.files);
        self.exported.set(Utc::now().timestamp());
    }
}
