//! `isobar table`: lists and describes the tables of the lake, and removes their orphan files.

use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::DataType;
use chrono::{DateTime, SecondsFormat};
use clap::Subcommand;
use lake::{Lake, Snapshot, TableName};

use crate::app::App;
use crate::format::{self, Format};
use crate::output::Output;
use crate::text::{self, Listing};

/// List and describe the lake's tables, and remove their orphan files
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Table {
    /// List the tables with their size and version
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show a table's columns, location and version
    #[command(after_help = DESCRIBE_EXAMPLES)]
    Describe {
        name: String,
        /// `csv` and `json` print the columns alone
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Remove orphan files, which killed writers leave, from one table, or from all
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep { name: Option<String> },
}

const SWEEP_EXAMPLES: &str = "\
EXAMPLES:
  isobar table sweep
  isobar table sweep weather

A landing or a run that is writing to the table repeats its uncommitted work.";

const EXAMPLES: &str = "\
EXAMPLES:
  isobar table list
  isobar table describe weather
  isobar table sweep";

const LIST_EXAMPLES: &str = "\
EXAMPLES:
  isobar table list
  isobar table list --format json | jq -r .name";

const DESCRIBE_EXAMPLES: &str = "\
EXAMPLES:
  isobar table describe weather
  isobar table describe weather --format csv";

impl Table {
    pub(crate) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        match self {
            Self::List { format } => list(&lake, *format, out).await,
            Self::Describe { name, format } => describe(&lake, name, *format, out).await,
            Self::Sweep { name } => sweep(&lake, name.as_deref(), out).await,
        }
    }
}

/// Removes the orphan files of the table of this name, or of all tables.
async fn sweep(lake: &Lake, name: Option<&str>, out: &mut Output) -> anyhow::Result<()> {
    let names = match name {
        Some(name) => vec![name.parse::<TableName>()?],
        None => {
            let tables = lake.readable().await?;
            tables.iter().map(|table| table.name().clone()).collect()
        }
    };
    for name in names {
        let mut table = lake
            .open(&name)
            .await?
            .ok_or_else(|| lake::Error::NoSuchTable {
                table: name.clone(),
                lake: lake.root().to_string(),
            })?;
        let removed = table.remove_orphan_files().await?;
        out.line(format_args!(
            "{name}: {} files, {} bytes removed",
            removed.files, removed.bytes
        ))?;
    }
    Ok(())
}

/// Prints the tables of `lake`.
pub(crate) async fn list(lake: &Lake, format: Format, out: &mut Output) -> anyhow::Result<()> {
    let snapshots = lake.readable().await?;
    if format != Format::Table {
        return format::print(format, &rows(&snapshots)?, out);
    }
    if snapshots.is_empty() {
        return out.line(format_args!("no tables yet in {}", lake.root()));
    }
    let head = [
        "name",
        "partitions",
        "files",
        "rows",
        "bytes",
        "version",
        "description",
    ];
    let mut listing = Listing::new(head);
    for snapshot in &snapshots {
        let (files, bytes, rows) = snapshot.size();
        listing.row([
            snapshot.name().to_string(),
            text::count(snapshot.partition_values().len() as u64),
            text::count(files as u64),
            rows.map_or_else(|| "?".to_owned(), text::count),
            text::bytes(bytes),
            snapshot.version().to_string(),
            snapshot.description().unwrap_or_default().to_owned(),
        ]);
    }
    out.print(listing)
}

fn rows(snapshots: &[Arc<Snapshot>]) -> anyhow::Result<RecordBatch> {
    let texts = |of: &dyn Fn(&Snapshot) -> Option<String>| {
        let values = snapshots.iter().map(|snapshot| of(snapshot));
        Arc::new(values.collect::<StringArray>()) as ArrayRef
    };
    let numbers = |of: &dyn Fn(&Snapshot) -> Option<u64>| {
        let values = snapshots.iter().map(|snapshot| of(snapshot));
        Arc::new(values.collect::<UInt64Array>()) as ArrayRef
    };
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("name", texts(&|s| Some(s.name().to_string())), false),
        (
            "partitions",
            numbers(&|s| Some(s.partition_values().len() as u64)),
            false,
        ),
        ("files", numbers(&|s| Some(s.size().0 as u64)), false),
        ("rows", numbers(&|s| s.size().2), true),
        ("bytes", numbers(&|s| Some(s.size().1)), false),
        ("version", numbers(&|s| Some(s.version())), false),
        (
            "description",
            texts(&|s| s.description().map(str::to_owned)),
            true,
        ),
    ])?)
}

/// Describes one table; the error for a missing one suggests the nearest name.
pub(crate) async fn describe(
    lake: &Lake,
    name: &str,
    format: Format,
    out: &mut Output,
) -> anyhow::Result<()> {
    let table: TableName = name.parse()?;
    let Some(snapshot) = lake.snapshot(&table).await? else {
        let known = lake.tables().await?;
        let missing = lake::Error::NoSuchTable {
            table,
            lake: lake.root().to_string(),
        };
        return Err(missing).with_context(|| remedy(name, &known));
    };
    if format != Format::Table {
        return format::print(format, &columns(&snapshot)?, out);
    }
    let (files, bytes, rows) = snapshot.size();
    let facts = [
        ("table", snapshot.name().to_string()),
        (
            "description",
            snapshot.description().unwrap_or("-").to_owned(),
        ),
        ("location", snapshot.location().to_string()),
        ("version", snapshot.version().to_string()),
        (
            "committed",
            snapshot
                .committed_ms()
                .map_or_else(|| "-".to_owned(), instant),
        ),
        (
            "partitioned by",
            snapshot.partition_columns().collect::<Vec<_>>().join(", "),
        ),
        ("rows", rows.map_or_else(|| "?".to_owned(), text::count)),
        (
            "files",
            format!("{}, {}", text::count(files as u64), text::bytes(bytes)),
        ),
    ];
    for (fact, value) in facts {
        out.line(format_args!("{fact:<14}  {value}"))?;
    }
    let mut listing = Listing::new(["column", "type"]);
    for field in snapshot.columns().fields() {
        listing.row([field.name().clone(), sql_type(field.data_type())]);
    }
    out.print(format_args!("\n{listing}"))
}

/// The error for a missing table, with the nearest name.
fn remedy(name: &str, known: &[TableName]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known.as_str(), name), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((similarity, nearest)) if similarity > 0.7 => {
            format!("no table \"{name}\"; did you mean \"{nearest}\"?")
        }
        Some(_) => format!("no table \"{name}\"; `isobar table list` lists the tables"),
        None => format!("no table \"{name}\" nor any other; `isobar land` makes them"),
    }
}

fn columns(snapshot: &Snapshot) -> anyhow::Result<RecordBatch> {
    let columns = snapshot.columns();
    let fields = || columns.fields().iter();
    let names: StringArray = fields().map(|field| Some(field.name().clone())).collect();
    let types: StringArray = fields()
        .map(|field| Some(sql_type(field.data_type())))
        .collect();
    let partition: Vec<_> = snapshot.partition_columns().collect();
    let partition: BooleanArray = fields()
        .map(|field| Some(partition.contains(&field.name().as_str())))
        .collect();
    Ok(RecordBatch::try_from_iter([
        ("column", Arc::new(names) as ArrayRef),
        ("type", Arc::new(types)),
        ("partition", Arc::new(partition)),
    ])?)
}

fn instant(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds).map_or_else(
        || "-".to_owned(),
        |at| at.to_rfc3339_opts(SecondsFormat::Millis, true),
    )
}

/// The SQL name of a column's type.
fn sql_type(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 => "TEXT",
        DataType::Binary => "BYTES",
        DataType::Date32 => "DATE",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        other => return other.to_string(),
    };
    name.to_owned()
}
