//! `isobar query`: the described query files, and whether they are sound.

use std::sync::Arc;

use anyhow::bail;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Subcommand;
use engine::query::{Library, QueryFile, QueryName, Runner};

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
    /// List the queries with what they take and where their rows go
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Plan every query against the tables, and say what is wrong where
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

/// What the list says of one query.
struct Line {
    name: QueryName,
    parameters: String,
    partition: String,
    outputs: String,
    description: String,
}

impl Line {
    /// A broken file is listed too: it is there, and `check` says what is wrong with it.
    fn of(library: &Library, name: QueryName) -> Self {
        let Ok(query) = library.query(name.as_str()) else {
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
        let outputs = [
            header
                .output
                .table
                .map(|table| format!("table {}", table.name)),
            header.output.jsonl.map(|jsonl| jsonl.file),
            header
                .output
                .hbase
                .map(|hbase| format!("hbase {}", hbase.table)),
        ];
        Self {
            name,
            parameters: header.params.keys().cloned().collect::<Vec<_>>().join(", "),
            partition: header.partition.unwrap_or_default(),
            outputs: outputs.into_iter().flatten().collect::<Vec<_>>().join(", "),
            description: header.description,
        }
    }
}

fn list(library: &Library, format: Format, out: &mut Output) -> anyhow::Result<()> {
    let names = library.names()?.into_iter();
    let lines: Vec<_> = names.map(|name| Line::of(library, name)).collect();
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
    let texts = |of: &dyn Fn(&Line) -> &str| {
        let values = lines.iter().map(|line| Some(of(line)));
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
    let names = library.names()?;
    if let Some(only) = only {
        library.query(only).map(drop).or_else(|error| match error {
            error @ engine::Error::NoSuchQuery { .. } => Err(error),
            // Another fault is told below, like that of every file.
            _ => Ok(()),
        })?;
    }
    let findings = plan_all(app, library, &names).await?;
    let asked =
        |name: &QueryName| only.is_none_or(|only| only.trim_end_matches(".sql") == name.as_str());
    let mut broken = 0_u64;
    for (name, finding) in findings.into_iter().filter(|(name, _)| asked(name)) {
        match finding {
            Ok(()) => out.line(format_args!("ok      {name}"))?,
            Err(error) => {
                broken += 1;
                out.line(format_args!("broken  {name}"))?;
                out.flush()?;
                let path = library.root().join(format!("{name}.sql"));
                let error = error.context(format!("{} is broken", path.display()));
                failure::report(error.as_ref());
            }
        }
    }
    if broken > 0 {
        bail!("{} cannot be run", text::counted(broken, "query file"));
    }
    Ok(())
}

/// Plans every query; the tables that queries make are there for the others, in whatever order.
async fn plan_all(
    app: &App,
    library: &Library,
    names: &[QueryName],
) -> anyhow::Result<Vec<(QueryName, anyhow::Result<()>)>> {
    let lake = app.lake()?;
    let session = app.session(&lake)?;
    for table in land::declarations(app, library).await?.tables() {
        session.declare(table.name.clone(), &table.schema);
    }
    let runner = Runner {
        base_path: app.base_path(&lake)?,
        zone: app.config.time.zone,
        lake,
        session,
    };
    let mut findings: Vec<_> = names
        .iter()
        .map(|name| {
            (
                name.clone(),
                library.query(name.as_str()).map_err(anyhow::Error::from),
            )
        })
        .collect();
    let mut done: Vec<(QueryName, anyhow::Result<()>)> = Vec::new();
    let mut waiting: Vec<QueryFile> = Vec::new();
    for (name, read) in findings.drain(..) {
        match read {
            Ok(query) => waiting.push(query),
            Err(error) => done.push((name, Err(error))),
        }
    }
    // Each round plans at least one query more, or the rest is broken.
    loop {
        let mut failed = Vec::new();
        let before = waiting.len();
        for query in waiting {
            match runner.plan(&query).await {
                Ok(schema) => {
                    if let Some(table) = &query.header.output.table {
                        runner.session.declare(table.name.parse()?, &schema);
                    }
                    done.push((query.name, Ok(())));
                }
                Err(error) => failed.push((query, error)),
            }
        }
        if failed.is_empty() || failed.len() == before {
            let errors = failed.into_iter();
            done.extend(errors.map(|(query, error)| (query.name, Err(error.into()))));
            break;
        }
        waiting = failed.into_iter().map(|(query, _)| query).collect();
    }
    done.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(done)
}
