//! How a command ends: its exit code, and what it says when it failed.

use std::error::Error as StdError;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use engine::lake::Failure;
use tracing::error;

/// Ended by SIGINT or SIGTERM.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Who read standard output has had enough, as `head` does.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct OutputClosed;

/// The arguments alone are wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// What the shell is told of the command. Most usage errors (2) leave earlier, where arguments are parsed.
pub(crate) fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    let error = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    if error.is::<OutputClosed>() {
        return ExitCode::SUCCESS;
    }
    if error.is::<Interrupted>() {
        return ExitCode::from(130);
    }
    report(error.as_ref());
    if error.is::<Usage>() {
        return ExitCode::from(2);
    }
    ExitCode::FAILURE
}

/// Says what failed and why: to a person as text, elsewhere as one line of the log.
pub(crate) fn report(error: &(dyn StdError + 'static)) {
    let story = Story::of(error);
    if std::io::stderr().is_terminal() {
        // Nothing is left to do if even this cannot be written.
        let _ = write!(std::io::stderr(), "{story}");
    } else if story.causes.is_empty() {
        error!("{}", story.lead);
    } else {
        error!(cause = story.causes.join(": "), "{}", story.lead);
    }
}

/// A chain of errors as it is told: the line that helps first, then what led there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Story {
    lead: String,
    causes: Vec<String>,
}

impl Story {
    /// A failure of the storage leads, because it names the server and the remedy; the attempts that
    /// it made fail follow.
    pub(crate) fn of(error: &(dyn StdError + 'static)) -> Self {
        let failure = Failure::find(error).map(ToString::to_string);
        let mut told: Vec<String> = failure.iter().cloned().collect();
        for line in anyhow::Chain::new(error).map(ToString::to_string) {
            // Libraries print their source and have it; nothing is told twice.
            let is_told = told.iter().any(|told| told.contains(&line));
            if !is_told
                && failure
                    .as_ref()
                    .is_none_or(|failure| !line.contains(failure))
            {
                told.push(line);
            }
        }
        let causes = told.split_off(1);
        Self {
            lead: told.remove(0),
            causes,
        }
    }
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "error: {}", self.lead)?;
        for cause in &self.causes {
            writeln!(f, "  caused by: {}", cause.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Story;

    #[test]
    fn a_chain_is_told_without_repeating_itself() {
        let error = io::Error::other("no space left");
        let error = anyhow::Error::new(error)
            .context("could not write: no space left")
            .context("could not export");
        assert_eq!(
            Story::of(error.as_ref()).to_string(),
            "error: could not export\n  caused by: could not write: no space left\n"
        );
    }

    #[test]
    fn a_failure_of_the_storage_leads() {
        let failure = engine::lake::Failure::SafeMode {
            server: "HDFS at nn:8020".to_owned(),
            operation: "write",
            path: "/x".to_owned(),
        };
        let line = failure.to_string();
        let error = anyhow::Error::new(failure).context("could not commit");
        let story = Story::of(error.as_ref());
        assert_eq!(
            (story.lead, story.causes),
            (line, vec!["could not commit".to_owned()])
        );
    }
}
