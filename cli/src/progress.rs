//! Progress on standard error, for a person only: elsewhere nothing is drawn.

use std::io::IsTerminal as _;
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All bars of the process, so that log lines can find and pass them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Bars,
    Nothing,
}

impl Show {
    pub(crate) fn unless(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            Self::Nothing
        } else {
            Self::Bars
        }
    }
}

/// A bar of `total` steps; it goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// `unit` names the steps; `"bytes"` are written with their prefix.
    pub(crate) fn new(show: Show, what: &'static str, total: u64, unit: &'static str) -> Self {
        if show == Show::Nothing {
            return Self(ProgressBar::hidden());
        }
        // Where the end is not known there is nothing to fill.
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

    pub(crate) fn at(&self, position: u64, total: u64, note: String) {
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

/// Does `work` while no bar is on the screen.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    BARS.suspend(work)
}
