//! Log lines on standard error: text at a terminal, JSON elsewhere.
//!
//! A line within a span, as that of a statement, has the fields of the span.

use std::io::{self, IsTerminal as _, Write};

use config::{Log, LogFormat};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::global::Verbosity;
use crate::progress;

/// The crates of this workspace. Other crates log from `warn` on.
const OWN_CRATES: [&str; 13] = [
    "allocations",
    "config",
    "connections",
    "engine",
    "flight_server",
    "ingest",
    "isobar",
    "jobs",
    "lake",
    "pipeline",
    "query_service",
    "service",
    "settings",
];

/// Target of the Delta kernel, which logs an error for a table that does not exist. Its callers
/// expect that.
const KERNEL: &str = "buoyant_kernel";

/// Starts logging.
pub(crate) fn init(log: &Log, verbosity: Verbosity) {
    let level = verbosity.adjust(log.level);
    let others = level.min(Level::WARN);
    let filter = Targets::new()
        .with_default(others)
        .with_target(KERNEL, LevelFilter::OFF)
        .with_targets(OWN_CRATES.map(|own_crate| (own_crate, level)));
    let registry = tracing_subscriber::registry().with(filter);
    registry
        .with(lines(LineForm::of(log.format), AboveProgress))
        .init();
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug)]
enum LineForm {
    Json,
    /// At a terminal, with colors unless NO_COLOR is set.
    Terminal,
    Text,
}

impl LineForm {
    fn of(format: LogFormat) -> Self {
        match (format, io::stderr().is_terminal()) {
            (LogFormat::Json, _) | (LogFormat::Auto, false) => Self::Json,
            (LogFormat::Auto | LogFormat::Text, true) => Self::Terminal,
            (LogFormat::Text, false) => Self::Text,
        }
    }
}

/// Writes a line for each event. JSON has the innermost span as object `span`.
fn lines<S>(
    form: LineForm,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match form {
        LineForm::Json => layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_ansi(false)
            .boxed(),
        LineForm::Terminal => layer.compact().with_target(false).boxed(),
        LineForm::Text => layer.compact().with_target(false).with_ansi(false).boxed(),
    }
}

/// Standard error, which suspends the progress bars for each line.
struct AboveProgress;

impl<'a> MakeWriter<'a> for AboveProgress {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for AboveProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::suspend_bars(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::{self, Seek as _};
    use std::path::Path;
    use std::sync::Arc;

    use tracing::{error_span, info};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{LineForm, OWN_CRATES, lines};

    /// The line of an event in the span of a statement.
    fn line_in_span(form: LineForm) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        let layer = lines(form, Arc::new(file.try_clone().expect("a file")));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = error_span!("statement", id = %"a1b2", protocol = "flight_sql");
            span.in_scope(|| info!(rows = 3, "planned"));
        });
        file.rewind().expect("a file");
        io::read_to_string(file).expect("UTF-8")
    }

    #[test]
    fn line_has_the_fields_of_its_span() {
        let json = line_in_span(LineForm::Json);
        let line: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(line["message"], "planned");
        assert_eq!(line["span"]["id"], "a1b2");
        assert_eq!(line["span"]["protocol"], "flight_sql");
        let text = line_in_span(LineForm::Text);
        assert!(
            text.contains("planned rows=3 id=a1b2 protocol=\"flight_sql\""),
            "{text}"
        );
    }

    #[test]
    fn every_crate_of_the_workspace_logs_at_the_configured_level() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lock = fs::read_to_string(root.join("Cargo.lock")).expect("Cargo.lock");
        // Packages of the workspace have no source.
        let members = lock.split("[[package]]\n").skip(1);
        let members = members.filter(|package| !package.contains("\nsource = "));
        let name = |package: &str| {
            let quoted = package.strip_prefix("name = \"")?;
            Some(quoted.split_once('"')?.0.replace('-', "_"))
        };
        let members: BTreeSet<_> = members.filter_map(name).collect();
        let logged: BTreeSet<_> = OWN_CRATES.map(str::to_owned).into();
        assert_eq!(members, logged);
    }
}
