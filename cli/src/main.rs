//! The `isobar` binary: arguments → configuration → one command → its exit code.
//!
//! A command is a file of [`commands`]. What it prints goes through [`output`], what it logs and where
//! it failed through [`logging`] and [`failure`], and a signal reaches it through [`signals`].

mod app;
mod args;
mod commands;
mod failure;
mod format;
mod health;
mod limit;
mod logging;
mod output;
mod progress;
mod signals;
mod text;

use std::process::ExitCode;

use clap::Parser as _;

use crate::app::App;
use crate::args::{Args, Command};
use crate::failure::Interrupted;
use crate::signals::Signals;

/// Rows are built by one thread and freed by another, in blocks of megabytes, which the system's allocator does slowly and with
/// gaps. `.cargo/config.toml` says how much this one keeps for the next block.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Planning recurses as deep as a statement nests, and a debug build needs several times the stack.
const STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = run(args);
    failure::exit_code(outcome)
}

fn run(args: Args) -> anyhow::Result<()> {
    if let Some(outcome) = commands::run_without_configuration(&args.command) {
        return outcome;
    }
    let app = App::load(&args.global, args.verbosity())?;
    act_as(app.config.hdfs.user.as_deref());
    // A thread of its own, since the first one has only the stack that the system gives it.
    let command = std::thread::Builder::new()
        .name("command".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(|| run_command(args.command, app))?;
    match command.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn run_command(command: Command, app: App) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()?;
    let signals = Signals::watch()?;
    let is_service = command.is_service();
    let outcome = runtime.block_on(async {
        commands::run(command, app, &signals).await?;
        // A service runs until it is asked to stop; everything else was not done yet.
        if signals.received() && !is_service {
            return Err(Interrupted.into());
        }
        Ok(())
    });
    // What was dropped may still compute on another thread. The process ends under it: a shutdown would
    // wait for it, or make it panic.
    std::mem::forget(runtime);
    outcome
}

/// Tells hdfs-native which user to be; it knows no other way.
#[allow(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "no other thread runs yet that could read the environment meanwhile"
)]
fn act_as(user: Option<&str>) {
    if let Some(user) = user {
        // SAFETY: called before the runtime starts, so this thread is the only one.
        unsafe { std::env::set_var("HADOOP_USER_NAME", user) };
    }
}
