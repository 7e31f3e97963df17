//! The commands, one file each: its arguments, its help, and what it does.

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

use crate::app::App;
use crate::args::Command;
use crate::output::Output;
use crate::signals::Signals;

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
