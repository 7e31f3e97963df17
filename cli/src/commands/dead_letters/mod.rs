//! `isobar dead-letters`: lists and shows refused messages, and lands them once their table's
//! declaration is corrected.

mod escape;
mod filter_args;
mod list;
mod replay;
mod show;

use clap::Subcommand;

use self::list::List;
use self::replay::Replay;
use self::show::Show;
use crate::app::App;
use crate::output::Output;

/// List, show and replay refused messages
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum DeadLetters {
    /// List the newest dead letters, or count them by topic and reason
    #[command(after_help = list::EXAMPLES)]
    List(List),
    /// Show one dead letter, with all its bytes
    #[command(after_help = show::EXAMPLES)]
    Show(Show),
    /// Validate dead letters again: the well-formed ones become rows, each once, and are removed
    ///
    /// Use it when a table's declaration has been corrected. Dead letters that are still malformed
    /// stay. First restart the services that land the topic: they keep the declaration that they
    /// have read.
    #[command(after_help = replay::EXAMPLES)]
    Replay(Replay),
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar dead-letters list --summary
  isobar dead-letters list --reason wrong_type --limit 5
  isobar dead-letters show weather-api/0/1234
  isobar dead-letters replay --dry-run";

impl DeadLetters {
    pub(crate) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(app, out).await,
            Self::Show(show) => show.run(app, out).await,
            Self::Replay(replay) => Box::pin(replay.run(app, out)).await,
        }
    }
}
