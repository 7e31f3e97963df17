//! The flags of every command.

use std::path::PathBuf;

use tracing::Level;

/// The flags of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file; without it ISOBAR_CONFIG, then ./isobar.toml if there is one
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Set one key of the configuration, such as `lake.url=file:///tmp/lake`; repeatable
    #[arg(long, value_name = "KEY=VALUE", global = true, value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Log more: once for debug, twice for trace
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Log errors only and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// How much is logged, relative to the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings and errors at most: for a command that prints its own steps.
    WarningsOnly,
    /// This many levels more than configured.
    More(u8),
}

impl Verbosity {
    pub(crate) fn adjust(self, level: Level) -> Level {
        match self {
            Self::Quiet => Level::ERROR,
            Self::WarningsOnly => level.min(Level::WARN),
            Self::More(0) => level,
            Self::More(1) => level.max(Level::DEBUG),
            Self::More(_) => Level::TRACE,
        }
    }
}

/// Splits at the first `=`; for `--set` and `-p`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("expected a name, `=` and a value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::key_value;

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
