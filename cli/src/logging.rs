//! Log lines on standard error: text for a person at a terminal, JSON for everything else.

use std::io::{self, IsTerminal as _, Write};

use engine::config::{Log, LogFormat};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::Verbosity;
use crate::progress;

/// Our own crates; what others log is shown from `warn` on.
const OURS: [&str; 4] = ["isobar", "engine", "ingest", "flight_server"];

/// Delta's reader logs as an error what its caller expects: that a table is not there.
const LOUD: &str = "buoyant_kernel";

/// Starts logging; before this nothing is logged.
pub(crate) fn init(log: &Log, verbosity: Verbosity) {
    let level = verbosity.adjust(log.level);
    let others = level.min(Level::WARN);
    let filter = Targets::new()
        .with_default(others)
        .with_target(LOUD, LevelFilter::OFF)
        .with_targets(OURS.map(|ours| (ours, level)));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(AboveProgress);
    if as_json(log.format) {
        registry
            .with(layer.json().flatten_event(true).with_ansi(false))
            .init();
    } else if io::stderr().is_terminal() {
        // The layer itself heeds NO_COLOR.
        registry.with(layer.compact().with_target(false)).init();
    } else {
        registry
            .with(layer.compact().with_target(false).with_ansi(false))
            .init();
    }
}

fn as_json(format: LogFormat) -> bool {
    match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    }
}

/// Standard error, where a progress bar steps aside for each line.
struct AboveProgress;

impl<'a> MakeWriter<'a> for AboveProgress {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for AboveProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::aside(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
