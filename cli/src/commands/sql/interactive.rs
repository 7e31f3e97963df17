//! The interactive shell: statements that end with `;`, and commands that start with `\`.

use std::path::{Path, PathBuf};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Editor, Helper};
use service::Interrupted;
use service::signals::Signals;
use tracing::debug;

use super::SqlShell;
use super::statement::is_complete;
use crate::app::App;
use crate::commands::table;
use crate::failure::{self, OutputClosed};
use crate::format::Format;
use crate::output::Output;

const PROMPT: &str = "isobar> ";

const HELP: &str = r"Statements end with `;` and may span lines.
  \d        list the tables
  \d TABLE  describe a table
  \q        leave (or Ctrl-D)
  \?        this help
Ctrl-C discards the line, or cancels the running statement.";

/// The keywords that are completed.
const KEYWORDS: [&str; 34] = [
    "AND", "AS", "ASC", "BETWEEN", "BY", "CASE", "CAST", "COUNT", "DATE", "DESC", "DESCRIBE",
    "DISTINCT", "ELSE", "END", "EXPLAIN", "FROM", "GROUP", "HAVING", "IN", "INTERVAL", "IS",
    "JOIN", "LEFT", "LIKE", "LIMIT", "NOT", "NULL", "ON", "OR", "ORDER", "SELECT", "SHOW", "WHERE",
    "WITH",
];

type LineEditor = Editor<LineHelper, FileHistory>;

/// Reads and runs lines until the user quits.
pub(super) async fn run(
    app: &App,
    shell: &SqlShell,
    signals: &Signals,
    out: &mut Output,
) -> anyhow::Result<()> {
    let history = app
        .state_directory
        .as_ref()
        .map(|state| state.join("history"));
    let mut editor = LineEditor::new()?;
    let tables = signals
        .run_until_signal(async { anyhow::Ok(shell.lake.readable().await?) })
        .await?;
    editor.set_helper(Some(LineHelper {
        words: tables
            .iter()
            .map(|table| table.name().to_string())
            .collect(),
    }));
    if let Some(path) = &history
        && path.exists()
        && let Err(error) = editor.load_history(path)
    {
        debug!(%error, path = %path.display(), "no history");
    }
    out.line(format_args!(
        "{}, {} tables; \\? prints help",
        shell.lake.root(),
        tables.len()
    ))?;
    out.flush()?;
    loop {
        let (returned, line) = read_line(editor, signals).await?;
        editor = returned;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        if line.trim().is_empty() {
            continue;
        }
        add_to_history(&mut editor, &line, history.as_deref());
        if matches!(line.trim(), "\\q" | "exit" | "quit" | "exit;" | "quit;") {
            break;
        }
        let outcome = signals.run_until_signal(run_line(shell, &line, out)).await;
        signals.reset();
        match outcome {
            Err(error) if error.is::<OutputClosed>() => return Err(error),
            Err(error) if error.is::<Interrupted>() => eprintln!("stopped"),
            Err(error) => eprint!("{}", failure::ErrorReport::of(error.as_ref())),
            Ok(()) => {}
        }
        out.flush()?;
    }
    Ok(())
}

/// Reads a line on a thread of its own, so that signals are handled meanwhile.
async fn read_line(
    mut editor: LineEditor,
    signals: &Signals,
) -> anyhow::Result<(LineEditor, rustyline::Result<String>)> {
    let reading = tokio::task::spawn_blocking(move || {
        let line = editor.readline(PROMPT);
        (editor, line)
    });
    signals.run_until_signal(async { Ok(reading.await?) }).await
}

/// Adds a line to the history. A failure to save it is only logged.
fn add_to_history(editor: &mut LineEditor, line: &str, history: Option<&Path>) {
    let saved = editor.add_history_entry(line).map(drop);
    let Some(path) = history else { return };
    let directory = path.parent().map(PathBuf::from).unwrap_or_default();
    let saved = saved
        .and_then(|()| Ok(std::fs::create_dir_all(directory)?))
        .and_then(|()| editor.save_history(path));
    if let Err(error) = saved {
        debug!(%error, path = %path.display(), "history not kept");
    }
}

async fn run_line(shell: &SqlShell, line: &str, out: &mut Output) -> anyhow::Result<()> {
    let mut words = line.trim().trim_end_matches(';').split_whitespace();
    match (words.next(), words.next()) {
        (Some("\\d"), None) => table::list(&shell.lake, Format::Table, out).await,
        (Some("\\d"), Some(name)) => table::describe(&shell.lake, name, Format::Table, out).await,
        (Some("\\?"), _) => out.line(HELP),
        (Some(word), _) if word.starts_with('\\') => {
            out.line(format_args!("no command {word}; \\? lists the commands"))
        }
        _ => shell.run_all(line, "statement", out).await,
    }
}

/// Validates and completes a line while the user types it.
struct LineHelper {
    words: Vec<String>,
}

impl Validator for LineHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        let is_command = ["\\", "exit", "quit"]
            .iter()
            .any(|word| input.trim().starts_with(word));
        Ok(if is_command || is_complete(input) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for LineHelper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..position]))
    }
}

impl LineHelper {
    /// The start of the last word of `typed`, and the words that it is a prefix of.
    fn candidates(&self, typed: &str) -> (usize, Vec<String>) {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let start = typed.len()
            - typed
                .chars()
                .rev()
                .take_while(|c| is_part(*c))
                .map(char::len_utf8)
                .sum::<usize>();
        let prefix = &typed[start..];
        if prefix.is_empty() {
            return (start, Vec::new());
        }
        let tables = self
            .words
            .iter()
            .filter(|word| word.starts_with(prefix))
            .cloned();
        let keywords = KEYWORDS
            .iter()
            .filter(|word| word.starts_with(&prefix.to_uppercase()));
        (
            start,
            tables.chain(keywords.map(ToString::to_string)).collect(),
        )
    }
}

impl Hinter for LineHelper {
    type Hint = String;
}

impl Highlighter for LineHelper {}

impl Helper for LineHelper {}

#[cfg(test)]
mod tests {
    use super::LineHelper;

    #[test]
    fn words_are_completed_from_tables_and_keywords() {
        let helper = LineHelper {
            words: vec!["weather".to_owned(), "weather_forecast".to_owned()],
        };
        let check = |typed: &str, start: usize, words: &[&str]| {
            let expected = words.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(helper.candidates(typed), (start, expected), "{typed}");
        };
        check("sel", 0, &["SELECT"]);
        check(
            "SELECT count(*) FROM wea",
            21,
            &["weather", "weather_forecast"],
        );
        check("SELECT 'é' fr", 12, &["FROM"]);
        check("SELECT ", 7, &[]);
    }
}
