//! The `isobar` binary: arguments → configuration → one command → its exit code.
//!
//! Each command is a file of [`commands`]. It prints results through [`output`], logs through
//! [`logging`], reports errors through [`failure`], and is stopped through [`service::signals`].

mod app;
mod commands;
mod failure;
mod format;
mod global;
mod limit;
mod logging;
mod output;
mod progress;
mod readiness;
mod text;

use std::process::ExitCode;

use clap::Parser as _;
use service::Interrupted;
use service::signals::Signals;

use crate::app::App;
use crate::commands::{Args, Command};

/// One thread allocates rows in blocks of megabytes and another frees them, which makes the
/// system's allocator slow and fragments its memory. `.cargo/config.toml` sets how much jemalloc
/// retains.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Stack of each thread. Planning recurses as deep as a statement nests, and a debug build needs
/// several times the stack of a release build.
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
    set_hdfs_user(app.config.hdfs.user.as_deref());
    // The main thread has the stack size of the system, so the command gets a thread of its own.
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
        // A signal is the normal end of a service; any other command was interrupted.
        if signals.received() && !is_service {
            return Err(Interrupted.into());
        }
        Ok(())
    });
    // Dropped work may still compute on another thread. Shutting the runtime down would wait for
    // it, or make it panic, so the process exits with the runtime running.
    std::mem::forget(runtime);
    outcome
}

/// Sets the user for hdfs-native, which takes it from the environment alone.
#[allow(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "no other thread runs yet that could read the environment meanwhile"
)]
fn set_hdfs_user(user: Option<&str>) {
    if let Some(user) = user {
        // SAFETY: called before the runtime starts, so this thread is the only one.
        unsafe { std::env::set_var("HADOOP_USER_NAME", user) };
    }
}
