//! `isobar sql`: runs statements from arguments, a file, standard input or a terminal.

mod interactive;
mod rows;
mod statement;

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::session::Session;
use engine::sql::{self, Statement};
use lake::Lake;
use service::signals::Signals;
use tokio::time::Instant;

use self::rows::Rows;
use crate::app::App;
use crate::format::{Format, Printer, TABLE_ROWS, Wanted};
use crate::limit::Limit;
use crate::output::Output;
use crate::text;

/// Query the lake in SQL, which only reads
///
/// Without -c and -f, statements come from standard input, or interactively from a terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sql {
    /// Run these statements; repeatable
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    command: Vec<String>,
    /// Run the statements of this file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the time of each statement to standard error, from planning to its last row
    #[arg(long)]
    timing: bool,
    /// Let tables show more than their first 10,000 rows
    #[arg(long)]
    all_rows: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar sql
  isobar sql -c 'SELECT city, max(temp) FROM weather GROUP BY city'
  isobar sql --format csv -f report.sql > report.csv
  echo 'SHOW TABLES' | isobar sql --format json";

/// A session over the lake, and how it runs statements and prints their rows.
struct SqlShell {
    lake: Arc<Lake>,
    session: Session,
    format: Format,
    timing: bool,
    /// Limit of the rows that a table prints.
    rows_max: usize,
    /// The zone of the lake's days.
    zone: String,
    /// Longest time of one statement.
    timeout: Option<Duration>,
}

impl Sql {
    pub(crate) async fn run(
        self,
        app: &App,
        signals: &Signals,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let shell = SqlShell {
            session: app.session_for_statements(&lake)?,
            lake,
            format: self.format,
            timing: self.timing,
            rows_max: if self.all_rows {
                usize::MAX
            } else {
                TABLE_ROWS
            },
            zone: app.config.time.zone.to_string(),
            timeout: app.config.sql.timeout,
        };
        if self.command.is_empty() && self.file.is_none() && std::io::stdin().is_terminal() {
            return Box::pin(interactive::run(app, &shell, signals, out)).await;
        }
        let work = async {
            for (text, origin) in self.texts()? {
                shell.run_all(&text, &origin, out).await?;
            }
            Ok(())
        };
        Box::pin(signals.run_until_signal(work)).await
    }

    /// The texts to run, each with the name that positions of errors have.
    fn texts(self) -> anyhow::Result<Vec<(String, String)>> {
        if let Some(path) = self.file {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("could not read {}", path.display()))?;
            return Ok(vec![(text, path.display().to_string())]);
        }
        if !self.command.is_empty() {
            let commands = self.command.into_iter();
            return Ok(commands.map(|text| (text, "command".to_owned())).collect());
        }
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("could not read standard input")?;
        Ok(vec![(text, "standard input".to_owned())])
    }
}

/// Runs the statements of `text` as `isobar sql -c` does.
pub(crate) async fn run_text(app: &App, text: &str, out: &mut Output) -> anyhow::Result<()> {
    let lake = app.lake()?;
    let shell = SqlShell {
        session: app.session_for_statements(&lake)?,
        lake,
        format: Format::Table,
        timing: false,
        rows_max: TABLE_ROWS,
        zone: app.config.time.zone.to_string(),
        timeout: app.config.sql.timeout,
    };
    shell.run_all(text, "command", out).await
}

impl SqlShell {
    /// Runs every statement of `text`, up to the first that fails.
    async fn run_all(&self, text: &str, origin: &str, out: &mut Output) -> anyhow::Result<()> {
        let statements = sql::parse(text, origin)?;
        let count = statements.len();
        for (position, statement) in statements.iter().enumerate() {
            self.run_statement(statement, out).await.map_err(|error| {
                // A syntax error has its position already.
                let has_position =
                    matches!(error.downcast_ref(), Some(engine::Error::Syntax { .. }));
                if has_position || error.is::<crate::failure::OutputClosed>() {
                    error
                } else if count == 1 {
                    error.context(format!("{origin} failed"))
                } else {
                    error.context(format!("statement {} of {origin} failed", position + 1))
                }
            })?;
        }
        Ok(())
    }

    async fn run_statement(&self, statement: &Statement, out: &mut Output) -> anyhow::Result<()> {
        if let Some(warning) = text::day_warning(statement, &self.zone) {
            eprintln!("warning: {warning}");
        }
        let limit = Limit::new("sql.timeout", self.timeout);
        let mut stopwatch = Stopwatch::default();
        let mut rows = Rows::start(&self.session, statement);
        let schema = stopwatch.on(limit.within(rows.schema())).await??;
        let mut printer = Printer::new(self.format, schema, self.rows_max);
        printer.begin(out)?;
        let mut wanted = Wanted::More;
        while wanted == Wanted::More
            && let Some(batch) = stopwatch.on(limit.within(rows.next())).await?
        {
            wanted = printer.batch(&batch?, out)?;
        }
        let shown = printer.end(out)?;
        if wanted == Wanted::Enough {
            eprintln!(
                "only the first {} rows are shown; --all-rows, --format csv and --format json show all",
                text::count(shown as u64)
            );
        }
        if self.timing {
            eprintln!("time: {}", text::seconds(stopwatch.0));
        }
        Ok(())
    }
}

/// Measures the time spent waiting for the engine, without that of printing.
#[derive(Default)]
struct Stopwatch(Duration);

impl Stopwatch {
    async fn on<T>(&mut self, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = work.await;
        self.0 += started.elapsed();
        done
    }
}
