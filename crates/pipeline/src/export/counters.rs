//! Metrics of an export.

use chrono::{DateTime, Utc};
use service::metrics::{Counter, Gauge, Metrics, Unit};

use super::Exported;

/// Metrics of an export. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ExportCounters {
    rows: Counter,
    files: Counter,
    /// Restarts after transient failures.
    pub(super) retries: Counter,
    exported: Gauge,
    event_time: Gauge,
    behind: Gauge,
}

impl ExportCounters {
    /// Registers them as `isobar_export_…`.
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
            "Restarts of the service, because PostgreSQL or the storage was unavailable",
            counters.retries.clone(),
        );
        metrics.register_with_unit(
            "export_exported_timestamp",
            "Time of the last export",
            Unit::Seconds,
            counters.exported.clone(),
        );
        metrics.register_with_unit(
            "export_event_time",
            "The newest event time among the rows that were exported",
            Unit::Seconds,
            counters.event_time.clone(),
        );
        metrics.register(
            "export_behind_rows",
            "Rows that were not exported at the last count, which ends at a million for each topic partition",
            counters.behind.clone(),
        );
        counters
    }

    pub(super) fn set_backlog(&self, rows: u64) {
        self.behind.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    pub(super) fn exported(&self, exported: &Exported, newest: Option<DateTime<Utc>>) {
        let behind = u64::try_from(self.behind.get()).unwrap_or_default();
        self.set_backlog(behind.saturating_sub(exported.rows));
        if let Some(newest) = newest {
            self.event_time
                .set(newest.timestamp().max(self.event_time.get()));
        }
        self.rows.inc_by(exported.rows);
        self.files.inc_by(exported.files);
        self.exported.set(Utc::now().timestamp());
    }
}
