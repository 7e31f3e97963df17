//! Progress bars on standard error, drawn only at a terminal.

use std::io::IsTerminal as _;
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All bars of the process, so that a log line can suspend them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether progress bars are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    Bars,
    Hidden,
}

impl ProgressMode {
    pub(crate) fn detect(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            Self::Hidden
        } else {
            Self::Bars
        }
    }
}

/// A bar of `total` steps; dropping it clears it.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// `unit` names the steps; `"bytes"` are printed with a binary prefix.
    pub(crate) fn new(
        mode: ProgressMode,
        what: &'static str,
        total: u64,
        unit: &'static str,
    ) -> Self {
        if mode == ProgressMode::Hidden {
            return Self(ProgressBar::hidden());
        }
        // Without a known total, a spinner replaces the bar.
        let amount = match (unit, total) {
            ("bytes", _) => "{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}".to_owned(),
            (_, 0) => format!("{{spinner}} {{pos}} {unit}"),
            _ => format!("{{bar:30}} {{pos}}/{{len}} {unit}"),
        };
        let style =
            ProgressStyle::with_template(&format!("{{prefix}} {amount} {{elapsed}} {{msg}}"))
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = BARS.add(ProgressBar::new(total).with_style(style).with_prefix(what));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    pub(crate) fn set(&self, position: u64, total: u64, note: String) {
        self.0.set_length(total);
        self.0.set_position(position);
        self.0.set_message(note);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BARS.remove(&self.0);
    }
}

/// Runs `work` with the bars cleared.
pub(crate) fn suspend_bars<T>(work: impl FnOnce() -> T) -> T {
    BARS.suspend(work)
}
