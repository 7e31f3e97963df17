//! The end of a command: its exit code, and the report of its error.

use std::error::Error as StdError;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use lake::Failure;
use service::Interrupted;
use tracing::error;

/// The reader of standard output closed it, as `head` does.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct OutputClosed;

/// The arguments are wrong, whatever the configuration says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The exit code of the command. Most usage errors (2) exit earlier, where clap parses the
/// arguments.
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

/// Prints an error and its causes: as text at a terminal, elsewhere as one line of the log.
pub(crate) fn report(error: &(dyn StdError + 'static)) {
    let report = ErrorReport::of(error);
    if std::io::stderr().is_terminal() {
        // A failure to write the report cannot be reported.
        let _ = write!(std::io::stderr(), "{report}");
    } else if report.causes.is_empty() {
        error!("{}", report.message);
    } else {
        error!(cause = report.causes.join(": "), "{}", report.message);
    }
}

/// An error and its causes, each with a line of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ErrorReport {
    message: String,
    causes: Vec<String>,
}

impl ErrorReport {
    /// Reports a storage failure first, because it names the server and the remedy; the attempts
    /// that it failed follow.
    pub(crate) fn of(error: &(dyn StdError + 'static)) -> Self {
        let failure = Failure::find(error).map(ToString::to_string);
        let mut lines: Vec<String> = failure.iter().cloned().collect();
        for line in anyhow::Chain::new(error).map(ToString::to_string) {
            // Some libraries print the source with the error; no line is printed twice.
            let is_repeated = lines.iter().any(|printed| printed.contains(&line));
            if !is_repeated
                && failure
                    .as_ref()
                    .is_none_or(|failure| !line.contains(failure))
            {
                lines.push(line);
            }
        }
        let causes = lines.split_off(1);
        Self {
            message: lines.remove(0),
            causes,
        }
    }
}

impl std::fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            writeln!(f, "  caused by: {}", cause.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::ErrorReport;

    #[test]
    fn error_report_prints_no_line_twice() {
        let error = io::Error::other("no space left");
        let error = anyhow::Error::new(error)
            .context("could not write: no space left")
            .context("could not export");
        assert_eq!(
            ErrorReport::of(error.as_ref()).to_string(),
            "error: could not export\n  caused by: could not write: no space left\n"
        );
    }

    #[test]
    fn storage_failure_is_reported_first() {
        let failure = lake::Failure::SafeMode {
            server: "HDFS at nn:8020".to_owned(),
            operation: "write",
            path: "/x".to_owned(),
        };
        let line = failure.to_string();
        let error = anyhow::Error::new(failure).context("could not commit");
        let report = ErrorReport::of(error.as_ref());
        assert_eq!(
            (report.message, report.causes),
            (line, vec!["could not commit".to_owned()])
        );
    }
}
