//! Log lines on standard error: text at a terminal, JSON elsewhere.

use std::io::{self, IsTerminal as _, Write};

use config::{Log, LogFormat};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
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
    let layer = tracing_subscriber::fmt::layer().with_writer(AboveProgress);
    if as_json(log.format) {
        registry
            .with(layer.json().flatten_event(true).with_ansi(false))
            .init();
    } else if io::stderr().is_terminal() {
        // The layer respects NO_COLOR.
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
    use std::path::Path;

    use super::OWN_CRATES;

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
