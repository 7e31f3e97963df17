//! `isobar query`: lists and checks the query files.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Subcommand;
use ingest::declaration::Declarations;
use jobs::{CheckedQuery, Library, QueryFile, QueryName, Runner};

use crate::app::App;
use crate::commands::land;
use crate::failure;
use crate::format::{self, Format};
use crate::output::Output;
use crate::text::{self, Listing};

/// List and check the query files
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Query {
    /// List the queries with their parameters and outputs
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Plan every table file and every query, and print the errors with their positions
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// Only this query
        #[arg(value_name = "QUERY")]
        name: Option<String>,
    },
}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar query list
  isobar query check";

const LIST_EXAMPLES: &str = "\
EXAMPLES:
  isobar query list
  isobar query list --format json | jq -r .name";

const CHECK_EXAMPLES: &str = "\
EXAMPLES:
  isobar query check
  isobar query check weather/daily_weather_by_city";

impl Query {
    pub(crate) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let library = app.library()?;
        match self {
            Self::List { format } => list(&library, *format, out),
            Self::Check { name } => check(app, &library, name.as_deref(), out).await,
        }
    }
}

/// One line of the list.
struct ListedQuery {
    name: QueryName,
    parameters: String,
    partition: String,
    outputs: String,
    description: String,
}

impl ListedQuery {
    /// Lists a broken file too; `check` prints its error.
    fn of((name, query): CheckedQuery) -> Self {
        let Ok(query) = query else {
            let description = format!("broken; see `isobar query check {name}`");
            return Self {
                name,
                parameters: String::new(),
                partition: String::new(),
                outputs: String::new(),
                description,
            };
        };
        let header = query.header;
        let outputs = header.output.iter().map(|output| output.to_string());
        let outputs = outputs.collect::<Vec<_>>().join(", ");
        Self {
            name,
            parameters: header.params.keys().cloned().collect::<Vec<_>>().join(", "),
            partition: header.partition.unwrap_or_default(),
            outputs,
            description: header.description,
        }
    }
}

fn list(library: &Library, format: Format, out: &mut Output) -> anyhow::Result<()> {
    let queries = library.queries()?.into_iter();
    let lines: Vec<_> = queries.map(ListedQuery::of).collect();
    if format == Format::Table {
        let mut listing =
            Listing::new(["name", "parameters", "partition", "outputs", "description"]);
        for line in lines {
            let name = line.name.to_string();
            listing.row([
                name,
                line.parameters,
                line.partition,
                line.outputs,
                line.description,
            ]);
        }
        return out.print(listing);
    }
    let texts = |value_of: &dyn Fn(&ListedQuery) -> &str| {
        let values = lines.iter().map(|line| Some(value_of(line)));
        Arc::new(values.collect::<StringArray>()) as ArrayRef
    };
    let batch = RecordBatch::try_from_iter([
        ("name", texts(&|line| line.name.as_str())),
        ("parameters", texts(&|line| &line.parameters)),
        ("partition", texts(&|line| &line.partition)),
        ("outputs", texts(&|line| &line.outputs)),
        ("description", texts(&|line| &line.description)),
    ])?;
    format::print(format, &batch, out)
}

async fn check(
    app: &App,
    library: &Library,
    only: Option<&str>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let selected = match only {
        Some(only) => vec![library.find(only)?],
        None => library.names()?,
    };
    let declarations = land::declarations(app, library).await?;
    if only.is_none() {
        for table in declarations.tables() {
            out.line(format_args!("ok      tables/{}", table.name))?;
        }
    }
    warn_of_days(app, library, &selected)?;
    let mut errors = errors(app, library, &declarations).await?;
    let mut broken = 0;
    for name in selected {
        let Some(error) = errors.remove(&name) else {
            out.line(format_args!("ok      {name}"))?;
            continue;
        };
        broken += 1;
        out.line(format_args!("broken  {name}"))?;
        out.flush()?;
        let path = library.root().join(format!("{name}.sql"));
        let error = error.context(format!("{} is broken", path.display()));
        failure::report(error.as_ref());
    }
    if broken > 0 {
        bail!("{} cannot be run", text::counted(broken, "query file"));
    }
    Ok(())
}

/// Warns of queries that use the day in UTC, where the days of the lake are those of another zone.
fn warn_of_days(app: &App, library: &Library, selected: &[QueryName]) -> anyhow::Result<()> {
    let zone = app.config.time.zone.to_string();
    for (name, query) in library.queries()? {
        let Some(query) = query.ok().filter(|_| selected.contains(&name)) else {
            continue;
        };
        if let Some(warning) = text::day_warning(&query.statement, &zone) {
            eprintln!("warning: {}: {warning}", query.path.display());
        }
    }
    Ok(())
}

/// The error of each query that cannot be run.
type QueryErrors = BTreeMap<QueryName, anyhow::Error>;

/// Reads and plans every query.
async fn errors(
    app: &App,
    library: &Library,
    declarations: &Declarations,
) -> anyhow::Result<QueryErrors> {
    let lake = app.lake()?;
    let session = app.session(&lake)?;
    for table in declarations.tables() {
        session.declare(table.name.clone(), &table.schema);
    }
    let runner = Runner {
        base_path: app.base_path(&lake)?,
        zone: app.config.time.zone,
        hbase: None,
        lake,
        session,
    };
    let mut errors = QueryErrors::new();
    let mut queries = Vec::new();
    for (name, query) in library.queries()? {
        match query {
            Ok(query) => queries.push(query),
            Err(error) => drop(errors.insert(name, error.into())),
        }
    }
    // A query may read the output table of another, in any order: those that failed are planned
    // again as long as each round leaves fewer.
    loop {
        let before = queries.len();
        let mut failed = Vec::new();
        for query in queries {
            if let Err(error) = plan(&runner, &query).await {
                failed.push((query, error));
            }
        }
        if failed.is_empty() || failed.len() == before {
            errors.extend(failed.into_iter().map(|(query, error)| (query.name, error)));
            return Ok(errors);
        }
        queries = failed.into_iter().map(|(query, _)| query).collect();
    }
}

/// Plans one query, and declares its output table for the others.
async fn plan(runner: &Runner, query: &QueryFile) -> anyhow::Result<()> {
    let schema = runner.plan(query).await?;
    if let Some(table) = &query.header.output.table {
        runner.session.declare(table.name.parse()?, &schema);
    }
    Ok(())
}
