//! `isobar dead-letters`: refused messages, listed, shown, and landed once their table's declaration is mended.

mod escape;
mod list;
mod replay;
mod show;
mod which;

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
    /// List the newest letters, or count them by topic and reason
    #[command(after_help = list::EXAMPLES)]
    List(List),
    /// Show one letter whole, with its bytes
    #[command(after_help = show::EXAMPLES)]
    Show(Show),
    /// Judge letters again: those that are well-formed now become rows, each once, and are letters no more
    ///
    /// For when a table's declaration has been mended. Letters that are malformed still stay as they are. Start services
    /// that land the topic again first: they keep the declaration that they were started with.
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
