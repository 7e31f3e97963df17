//! Golden tests: each query and table file has a script that creates a few rows, runs the file, and
//! has the expected contents of the lake.
//!
//! Besides SQL a script has three statements:
//!
//! - `LAND`, followed by export lines, lands them, and returns counts.
//! - `INSERT INTO table (columns) VALUES …` adds rows to a declared table. Other columns are null.
//! - `RUN name parameter=value …` runs a query, for all days by default, and returns what it
//!   published.
//!
//! `make bless` rewrites the expected rows.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono_tz::Europe::Paris;
use datafusion::datasource::MemTable;
use engine::session::rows_context;
use futures::future::join_all;
use jobs::{PartitionRun, PartitionSelection, Published, parse_date};
use lake::{CommitActions, CommitOutcome, encode, split};

use crate::script::{Expected, Record, Script, aligned};
use crate::world::{World, queries};

type Rows = Vec<Vec<String>>;

#[tokio::test(flavor = "multi_thread")]
async fn query_and_table_files_give_expected_rows() {
    let checks = files_with_extension("sql").into_iter().map(check);
    let faults = join_all(checks).await.concat();
    assert!(faults.is_empty(), "\n\n{}\n", faults.join("\n\n"));
}

#[test]
fn script_belongs_to_a_file() {
    for script in files_with_extension("slt") {
        let file = script.with_extension("sql");
        assert!(file.exists(), "{} tests nothing", shown(&script));
    }
}

/// The failures of the script of `file`.
async fn check(file: PathBuf) -> Vec<String> {
    let path = file.with_extension("slt");
    let Ok(text) = std::fs::read_to_string(&path) else {
        let missing = format!("{}: it has no test {}", shown(&file), shown(&path));
        return vec![missing];
    };
    let script = match Script::parse(&text) {
        Ok(script) => script,
        Err(wrong) => return vec![format!("{}: {wrong}", shown(&path))],
    };
    let mut world = Golden::new().await;
    let mut faults = Vec::new();
    let mut answers = Vec::new();
    for record in &script.records {
        let outcome = world.execute(record).await;
        let answer = outcome.as_deref().map(aligned).unwrap_or_default();
        if let Some(fault) = fault(record, outcome.err(), &answer) {
            faults.push(format!("{}:{}: {fault}", shown(&path), record.line));
        }
        answers.push(answer);
    }
    if blesses() && faults.is_empty() {
        let blessed = script.with_answers(&answers);
        std::fs::write(&path, blessed).expect("written");
    }
    faults
}

/// The difference between the outcome of a record and the expected one.
fn fault(record: &Record<'_>, failed: Option<String>, answer: &[String]) -> Option<String> {
    let statement = &record.statement;
    match (&record.expected, failed) {
        (Expected::Failure(text), Some(failed)) if failed.contains(text) => None,
        (_, Some(failed)) => Some(format!("{statement}\nfailed: {failed}")),
        (Expected::Failure(text), None) => Some(format!(
            "{statement}\nsucceeded; expected an error that says: {text}"
        )),
        (Expected::Answer(expected), None) if expected != answer && !blesses() => Some(format!(
            "{statement}\nexpected:\n{}\nfound:\n{}",
            expected.join("\n"),
            answer.join("\n")
        )),
        (_, None) => None,
    }
}

/// Executes the statements of a script in a world.
struct Golden {
    world: World,
    /// Number of `LAND` statements so far: each one lands a file of its own.
    landings: usize,
}

impl Golden {
    async fn new() -> Self {
        Self {
            world: World::new().await,
            landings: 0,
        }
    }

    /// Executes one record. The error has the whole chain of causes.
    async fn execute(&mut self, record: &Record<'_>) -> Result<Rows, String> {
        let statement = record.statement.as_str();
        let word = statement.split_whitespace().next().unwrap_or_default();
        let answer = match word {
            "" => Ok(Vec::new()),
            "LAND" => self.land(statement).await,
            "INSERT" => self.insert(statement).await,
            "RUN" => self.run(statement).await,
            _ => self.world.rows(statement).await.map_err(Into::into),
        };
        answer.map_err(|error| chain(&*error))
    }

    async fn land(&mut self, statement: &str) -> Result<Rows, Box<dyn Error>> {
        self.landings += 1;
        let lines: Vec<_> = statement.lines().skip(1).collect();
        let name = format!("weather_{}.json", self.landings);
        let progress = self.world.land(&self.world.export(&name, &lines)).await?;
        Ok(vec![vec![
            format!("{} landed", progress.landed),
            format!("{} refused", progress.refused),
            format!("{} skipped", progress.skipped),
        ]])
    }

    /// Lets DataFusion insert into an empty table of the declared columns, and moves its rows to
    /// the lake.
    async fn insert(&self, statement: &str) -> Result<Rows, Box<dyn Error>> {
        let name = statement.split_whitespace().nth(2).unwrap_or_default();
        let mut declared = self.world.declarations.tables();
        let declared = declared
            .find(|declared| declared.name.as_str() == name)
            .ok_or_else(|| format!("no table \"{name}\" is declared"))?;
        let context = rows_context(Paris).expect("a context");
        let columns = Arc::clone(&declared.schema.columns);
        let rows = MemTable::try_new(columns, vec![Vec::new()])?;
        context.register_table(name, Arc::new(rows))?;
        context.sql(statement).await?.collect().await?;
        let rows = context.table(name).await?.collect().await?;

        let lake = &self.world.lake;
        let mut table = lake
            .open_or_create(&declared.name, &declared.schema)
            .await?;
        let mut change = CommitActions::default();
        for (key, rows) in split(&rows, &declared.schema.partition)? {
            let encoded = encode(&table.snapshot().file_schema(), &rows)?;
            change.add.push(table.store(&key, encoded).await?);
        }
        match table.commit(&change).await? {
            CommitOutcome::Committed(_) => Ok(Vec::new()),
            CommitOutcome::Conflict => Err("another writer committed the version first".into()),
        }
    }

    async fn run(&self, statement: &str) -> Result<Rows, Box<dyn Error>> {
        let mut words = statement.split_whitespace().skip(1);
        let name = words.next().ok_or("RUN what?")?;
        let mut days = PartitionSelection::All;
        let mut parameters = BTreeMap::new();
        for word in words {
            match word.split_once('=') {
                Some(("dt", day)) => days = PartitionSelection::One(parse_date("dt", day)?),
                Some((name, value)) => {
                    parameters.insert(name.to_owned(), value.to_owned());
                }
                None => return Err(format!("\"{word}\" is not a parameter: name=value").into()),
            }
        }
        let report = self.world.run(name, &days, &parameters).await?;
        let partition = |run: &PartitionRun| {
            let published = match run.published {
                Published::Rows(rows) => format!("{rows} rows"),
                Published::Unchanged => "unchanged".to_owned(),
                Published::Nothing => "nothing".to_owned(),
            };
            vec![run.partition.clone(), published]
        };
        Ok(report.partitions.iter().map(partition).collect())
    }
}

/// Whether expected rows are rewritten instead of compared.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the test that is configured, not the product"
)]
fn blesses() -> bool {
    std::env::var_os("ISOBAR_BLESS").is_some()
}

/// All query files, or scripts, by extension. Fails if there are none.
fn files_with_extension(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![queries()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(
        !found.is_empty(),
        "no .{extension} below {}",
        queries().display()
    );
    found
}

/// The path for failure messages.
fn shown(path: &Path) -> String {
    let below = path.strip_prefix(queries()).unwrap_or(path);
    format!("queries/{}", below.display())
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
