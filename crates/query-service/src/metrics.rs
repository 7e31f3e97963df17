//! The metrics of statements, of all protocols together.

use std::time::Duration;

use service::metrics::{ByLabel, Counter, Gauge, Histogram, Metrics, Unit};

use crate::code::ErrorCode;
use crate::error::Error;

/// Upper bounds of the duration histogram in seconds: from a look-up to the longest statement.
const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0,
];

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All rows were sent.
    Ok,
    /// The client sent a statement that the service refuses.
    Refused,
    /// The service or the storage failed, or no permit was free for the statement.
    Failed,
    TimedOut,
    /// The statement was cancelled, or the client disconnected.
    Cancelled,
}

impl Outcome {
    pub(crate) fn of(error: &Error) -> Self {
        match error.code() {
            ErrorCode::InvalidArgument | ErrorCode::NotFound | ErrorCode::Aborted => Self::Refused,
            ErrorCode::DeadlineExceeded => Self::TimedOut,
            ErrorCode::Cancelled => Self::Cancelled,
            ErrorCode::FailedPrecondition
            | ErrorCode::ResourceExhausted
            | ErrorCode::Unavailable
            | ErrorCode::Internal => Self::Failed,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The counters of statements; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    ended: ByLabel<Counter>,
    seconds: Histogram,
    pub(crate) running: Gauge,
    pub(crate) overloaded: Counter,
    pub(crate) rows: Counter,
    pub(crate) bytes: Counter,
}

impl Counters {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let counters = Self {
            ended: ByLabel::default(),
            seconds: Histogram::new(SECONDS),
            running: Gauge::default(),
            overloaded: Counter::default(),
            rows: Counter::default(),
            bytes: Counter::default(),
        };
        metrics.register(
            "queries",
            "Statements that ended, by outcome",
            counters.ended.clone(),
        );
        metrics.register_with_unit(
            "query_duration",
            "From the request for a result to its end",
            Unit::Seconds,
            counters.seconds.clone(),
        );
        metrics.register(
            "queries_running",
            "Statements that run now",
            counters.running.clone(),
        );
        metrics.register(
            "queries_overloaded",
            "Statements refused because too many ran",
            counters.overloaded.clone(),
        );
        metrics.register("sent_rows", "Rows sent to clients", counters.rows.clone());
        metrics.register_with_unit(
            "sent",
            "Bytes of rows sent to clients",
            Unit::Bytes,
            counters.bytes.clone(),
        );
        counters
    }

    pub(crate) fn ended(&self, outcome: Outcome, duration: Duration) {
        self.ended
            .get_or_create(&[("outcome", outcome.as_str())])
            .inc();
        self.seconds.observe(duration.as_secs_f64());
    }
}
