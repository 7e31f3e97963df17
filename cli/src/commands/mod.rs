//! The command line, and the commands, one file each: its arguments, its help, and what it does.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod consume;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod land;
pub(crate) mod produce;
pub(crate) mod query;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod sql;
pub(crate) mod table;

use clap::{Parser, Subcommand};
use service::signals::Signals;

use crate::app::App;
use crate::global::{Global, Verbosity};
use crate::output::Output;

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

impl Args {
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (&self.command, self.global.quiet, self.global.verbose) {
            (_, true, _) => Verbosity::Quiet,
            (Command::Demo(_), _, 0) => Verbosity::WarningsOnly,
            (_, _, more) => Verbosity::More(more),
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

/// Runs a command that needs neither configuration nor runtime; `None` when `command` needs them.
pub(crate) fn run_without_configuration(command: &Command) -> Option<anyhow::Result<()>> {
    match command {
        Command::Completions(arguments) => Some(arguments.run(&mut Output::new())),
        Command::Config(config::Config::Example) => Some(config::example(&mut Output::new())),
        _ => None,
    }
}

pub(crate) async fn run(command: Command, app: App, signals: &Signals) -> anyhow::Result<()> {
    let mut out = Output::new();
    // On a signal a service finishes its current batch, and the shell goes on. Any other command
    // changes nothing before its last step, so that it is dropped.
    match command {
        Command::Produce(produce) => produce.run(&app, signals, &mut out).await?,
        Command::Land(land) => land.run(&app, signals, &mut out).await?,
        Command::Consume(consume) => consume.run(&app, signals, &mut out).await?,
        Command::Export(export) => export.run(&app, signals, &mut out).await?,
        Command::Demo(demo) => demo.run(&app, signals, &mut out).await?,
        Command::Sql(sql) => sql.run(&app, signals, &mut out).await?,
        Command::Serve(serve) => serve.run(&app, signals).await?,
        other => {
            let done = Box::pin(run_droppable(other, &app, &mut out));
            signals.run_until_signal(done).await?;
        }
    }
    out.flush()
}

async fn run_droppable(command: Command, app: &App, out: &mut Output) -> anyhow::Result<()> {
    match command {
        Command::Run(run) => run.run(app, out).await,
        Command::Query(query) => query.run(app, out).await,
        Command::Table(table) => table.run(app, out).await,
        Command::DeadLetters(dead_letters) => Box::pin(dead_letters.run(app, out)).await,
        Command::Config(config) => config.run(app, out),
        Command::Check(check) => Box::pin(check.run(app, out)).await,
        Command::Produce(_)
        | Command::Land(_)
        | Command::Consume(_)
        | Command::Export(_)
        | Command::Sql(_)
        | Command::Serve(_)
        | Command::Demo(_)
        | Command::Completions(_) => {
            unreachable!("runs elsewhere")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::Args;

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
}
