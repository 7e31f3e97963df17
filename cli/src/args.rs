//! The command line: arguments and their help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tracing::Level;

use crate::commands::{
    check, completions, config, consume, dead_letters, demo, export, land, produce, query, run,
    serve, sql, table,
};

/// SQL analytics engine over HDFS, in one binary.
///
/// Lands messages as Delta tables on HDFS (or in a local directory), runs SQL files as aggregation
/// jobs over them, and answers SQL.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar demo                                   the whole pipeline on simulated weather
  isobar produce                                the weather of cities goes to Kafka
  isobar land --from files exports --once       messages in files become tables
  isobar run weather/daily_weather_by_city      today's aggregates
  isobar sql -c 'SELECT count(*) FROM weather'  one SQL statement
  isobar serve                                  SQL for clients of Flight SQL

`isobar help COMMAND` says more of each.";

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

impl Args {
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (&self.command, self.global.quiet, self.global.verbose) {
            (_, true, _) => Verbosity::Quiet,
            (Command::Demo(_), _, 0) => Verbosity::WarningsOnly,
            (_, _, more) => Verbosity::More(more),
        }
    }
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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Export(export::Export),
    Land(land::Land),
    Run(run::Run),
    #[command(subcommand)]
    Query(query::Query),
    Sql(sql::Sql),
    Serve(serve::Serve),
    #[command(subcommand)]
    Table(table::Table),
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    #[command(subcommand)]
    Config(config::Config),
    Check(check::Check),
    Completions(completions::Completions),
}

impl Command {
    /// Whether the command runs until a signal.
    pub(crate) fn is_service(&self) -> bool {
        match self {
            Self::Serve(_) => true,
            Self::Produce(produce) => produce.is_service(),
            Self::Land(land) => !land.once,
            Self::Demo(demo) => !demo.once,
            Self::Consume(consume) => !consume.once,
            Self::Export(export) => !export.once,
            _ => false,
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
    use clap::{CommandFactory as _, Parser as _};

    use super::{Args, key_value};

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_ends_its_help_with_examples() {
        fn check(command: &clap::Command, path: &str) {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(
                help.contains("EXAMPLES:\n") && help.contains(path),
                "{path}"
            );
            for child in command.get_subcommands() {
                check(child, &format!("{path} {}", child.get_name()));
            }
        }
        check(&Args::command(), "isobar");
    }

    #[test]
    fn usage_errors_follow_from_the_arguments_alone() {
        let check = |line: &str, is_fine: bool| {
            let parsed = Args::try_parse_from(line.split_whitespace());
            assert_eq!(parsed.is_ok(), is_fine, "{line}: {parsed:?}");
        };
        check("isobar", false);
        check("isobar run", false);
        check("isobar run q", true);
        check("isobar run q --dt 2026-01-15", true);
        check("isobar run q --dt 2026-02-30", false);
        check("isobar run q --dt 2026-01-15 --all", false);
        check("isobar run q --from 2026-01-15", false);
        check(
            "isobar run q --from 2026-01-15 --to 2026-01-16 -p a=b",
            true,
        );
        check("isobar run q -p a", false);
        check("isobar sql -c x -c y", true);
        check("isobar sql -c x -f y", false);
        check("isobar produce --once --dry-run", true);
        check("isobar produce Paris", false);
        check("isobar land", false);
        check("isobar land --from files x --once", true);
        check("isobar land --from files", false);
        check("isobar land --from files x --accept-loss", false);
        check("isobar land --from kafka --topic t --once", true);
        check("isobar dead-letters", false);
        check("isobar dead-letters list --summary --since 7d", true);
        check("isobar dead-letters list --since 7d --dt 2026-01-15", false);
        check("isobar dead-letters list --since soon", false);
        check("isobar dead-letters show t/0/1 --raw", true);
        check("isobar dead-letters show t", false);
        check("isobar dead-letters replay --reason a --reason b", true);
        check("isobar land --from postgres --once", true);
        check("isobar sql --set time.zone=UTC -v", true);
        check("isobar --set time.zone sql", false);
        check("isobar -q -v sql", false);
        check("isobar check now", false);
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
