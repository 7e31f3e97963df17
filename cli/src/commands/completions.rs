//! `isobar completions`: completion scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Args;
use crate::output::Output;

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    shell: Shell,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar completions bash > ~/.local/share/bash-completion/completions/isobar
  isobar completions zsh  > ~/.zfunc/_isobar
  isobar completions fish > ~/.config/fish/completions/isobar.fish";

impl Completions {
    pub(crate) fn run(&self, out: &mut Output) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Args::command(), "isobar", &mut script);
        out.write(|out| std::io::Write::write_all(out, &script))?;
        out.flush()
    }
}
