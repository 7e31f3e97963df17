//! What runs of queries publish, over tables that are changed under them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::NaiveDate;
use chrono_tz::{Europe::Paris, Tz, UTC};
use datafusion::common::ScalarValue;
use engine::runtime::{Runtime, RuntimeOptions};
use engine::session::Session;
use jobs::{Library, PartitionSelection, Published, Report, Runner};
use lake::{CommitActions, Lake, PartitionKey, Table, TableSchema, encode};
use tempfile::TempDir;
use url::Url;

use crate::local::lake_in;

const DAILY: &str = r#"--! description = "The largest x of a day."
--! params      = { dt = "date" }
--! partition   = "dt"
--! [output.table]
--! name        = "daily"
--! [output.jsonl]
--! file        = "daily.jsonl"
SELECT dt, max(x) AS x FROM readings WHERE dt = $dt GROUP BY dt"#;

/// A lake with the table `readings`, and a library of queries.
struct World {
    directory: TempDir,
    lake: Arc<Lake>,
    readings: Table,
}

impl World {
    async fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        std::fs::create_dir(directory.path().join("queries")).expect("a directory");
        let lake = lake_in(&directory.path().join("lake"));
        let schema = TableSchema {
            columns: columns(&[DataType::Date32, DataType::Int64]),
            partition: vec!["dt".to_owned()],
            description: "numbers of a day".to_owned(),
        };
        let name = "readings".parse().expect("a name");
        let readings = lake.open_or_create(&name, &schema).await.expect("a table");
        Self {
            directory,
            lake,
            readings,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("weather").join(name)
    }

    fn library(&self) -> Library {
        Library::new(self.directory.path().join("queries"))
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.library().root().join(format!("{name}.sql"));
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        std::fs::write(path, text).expect("written");
    }

    /// Makes `values` the readings of `day`; none, and the day leaves the table.
    async fn put(&mut self, day: &str, values: &[i64]) {
        let key = PartitionKey::of(Some("dt"), Some(&ScalarValue::from(day)));
        let mut actions = CommitActions {
            replace: vec![key.clone()],
            ..CommitActions::default()
        };
        if !values.is_empty() {
            let schema = self.readings.snapshot().file_schema();
            let rows = vec![Arc::new(Int64Array::from(values.to_vec())) as _];
            let rows = RecordBatch::try_new(Arc::clone(&schema), rows).expect("rows");
            let encoded = encode(&schema, &[rows]).expect("encoded");
            let file = self.readings.store(&key, encoded).await.expect("stored");
            actions.add.push(file);
        }
        self.readings.commit(&actions).await.expect("committed");
    }

    fn runner(&self, zone: Tz) -> Runner {
        let base = Url::from_directory_path(self.directory.path().join("weather")).expect("a URL");
        Runner {
            lake: Arc::clone(&self.lake),
            session: Session::new(
                &self.lake,
                zone,
                &Runtime::new(&RuntimeOptions::default()).expect("a runtime"),
            )
            .expect("a session"),
            base_path: self.lake.stores().locate(&base).expect("a place"),
            zone,
            hbase: None,
        }
    }

    async fn run_in(&self, zone: Tz, name: &str, selection: &PartitionSelection) -> Report {
        let query = self.library().query(name).expect("a query");
        let run = self.runner(zone);
        let report = run.run(&query, selection, &BTreeMap::new(), &|_| ()).await;
        report.expect("a run")
    }

    /// What a run of all days did with each: the day and its outcome.
    async fn run(&self, name: &str) -> Vec<(String, Published)> {
        outcomes(&self.run_in(Paris, name, &PartitionSelection::All).await)
    }

    /// The rows that a statement answers, as text.
    async fn rows(&self, sql: &str) -> String {
        let session = Session::new(
            &self.lake,
            Paris,
            &Runtime::new(&RuntimeOptions::default()).expect("a runtime"),
        )
        .expect("a session");
        let statement = engine::sql::parse_one(sql, "test").expect("a statement");
        let rows = session.query(&statement).await.expect("planned");
        let batches = rows.collect().await.expect("rows");
        let options = FormatOptions::default().with_null("NULL");
        let mut lines = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let values = batch.columns().iter().map(|column| {
                    let formatter = ArrayFormatter::try_new(column, &options).expect("printable");
                    formatter.value(row).to_string()
                });
                lines.push(values.collect::<Vec<_>>().join(" "));
            }
        }
        lines.join("\n")
    }
}

fn columns(types: &[DataType]) -> SchemaRef {
    let names = ["dt", "x"];
    let fields = names
        .iter()
        .zip(types)
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn outcomes(report: &Report) -> Vec<(String, Published)> {
    let runs = report.partitions.iter();
    runs.map(|run| (run.partition.clone(), run.published))
        .collect()
}

fn outcome(day: &str, published: Published) -> (String, Published) {
    (day.to_owned(), published)
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_without_input_is_removed_from_the_outputs() {
    let mut world = World::new().await;
    world.write("daily", DAILY);
    world.put("2026-01-15", &[1, 2]).await;
    world.put("2026-01-16", &[3]).await;
    world.run("daily").await;
    world.put("2026-01-15", &[]).await;
    assert_eq!(
        world.run("daily").await,
        [
            outcome("2026-01-15", Published::Rows(0)),
            outcome("2026-01-16", Published::Unchanged),
        ]
    );
    assert_eq!(world.rows("SELECT dt, x FROM daily").await, "2026-01-16 3");
    let lines = std::fs::read_to_string(world.file("dt=2026-01-15/daily.jsonl"));
    assert_eq!(lines.expect("a file"), "");
    // The day is then selected no more, until it has input rows again.
    let day_16 = outcome("2026-01-16", Published::Unchanged);
    assert_eq!(world.run("daily").await, std::slice::from_ref(&day_16));
    world.put("2026-01-15", &[7]).await;
    assert_eq!(
        world.run("daily").await,
        [outcome("2026-01-15", Published::Rows(1)), day_16]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_without_input_empties_the_file_of_a_query_without_a_table() {
    let mut world = World::new().await;
    world.write(
        "daily",
        &DAILY.replace("--! [output.table]\n--! name        = \"daily\"\n", ""),
    );
    world.put("2026-01-15", &[1]).await;
    world.run("daily").await;
    world.put("2026-01-15", &[]).await;
    assert_eq!(
        world.run("daily").await,
        [outcome("2026-01-15", Published::Rows(0))]
    );
    let lines = std::fs::read_to_string(world.file("dt=2026-01-15/daily.jsonl"));
    assert_eq!(lines.expect("a file"), "");
    assert_eq!(world.run("daily").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_zone_makes_every_day_stale() {
    let mut world = World::new().await;
    world.write("daily", DAILY);
    world.put("2026-01-15", &[1]).await;
    let run = async |zone| outcomes(&world.run_in(zone, "daily", &PartitionSelection::All).await);
    let published = [outcome("2026-01-15", Published::Rows(1))];
    assert_eq!(run(Paris).await, published);
    assert_eq!(
        run(Paris).await,
        [outcome("2026-01-15", Published::Unchanged)]
    );
    assert_eq!(run(UTC).await, published);
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_and_infinity_are_null_in_every_output() {
    let mut world = World::new().await;
    world.write(
        "odd",
        &DAILY.replace("daily", "odd").replace(
            "max(x) AS x",
            "CAST('NaN' AS DOUBLE) AS nan, CAST(max(x) AS DOUBLE) / 0 AS inf, CAST(max(x) AS DOUBLE) AS x",
        ),
    );
    world.put("2026-01-15", &[1]).await;
    world.put("2026-01-16", &[200]).await;
    world.run("odd").await;
    let lines = std::fs::read_to_string(world.file("dt=2026-01-15/odd.jsonl"));
    assert_eq!(
        lines.expect("a file"),
        "{\"dt\":\"2026-01-15\",\"nan\":null,\"inf\":null,\"x\":1.0}\n"
    );
    // A NaN is larger than any number: rows with it must not come and go with the files that are
    // pruned.
    for (filter, found) in [("nan > 100", "0"), ("nan IS NULL", "2"), ("x > 100", "1")] {
        let counted = format!("SELECT count(*) FROM odd WHERE {filter}");
        assert_eq!(world.rows(&counted).await, found, "{filter}");
    }
    assert_eq!(
        world
            .rows("SELECT max(nan), max(inf), max(x) FROM odd")
            .await,
        "NULL NULL 200.0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_no_scalar_is_refused_when_planned() {
    let world = World::new().await;
    let day = NaiveDate::from_ymd_opt(2026, 1, 15).expect("a day");
    for (column, named) in [
        ("array_agg(x)", "List"),
        ("named_struct('a', max(x))", "Struct"),
        ("CAST('12:00:00' AS TIME)", "Time64"),
    ] {
        let text = DAILY.replace("max(x)", column);
        world.write("daily", &text);
        let query = world.library().query("daily").expect("a query");
        let runner = world.runner(Paris);
        let planned = runner.plan(&query).await.map(|_| ());
        let none = BTreeMap::new();
        let run = runner
            .run(&query, &PartitionSelection::One(day), &none, &|_| ())
            .await;
        for outcome in [planned, run.map(|_| ())] {
            let complaint = outcome.expect_err(column).to_string();
            assert!(
                complaint.contains("column \"x\" of query \"daily\"") && complaint.contains(named),
                "{complaint}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_has_one_owner() {
    let world = World::new().await;
    let check = |other: &str, shared: &str| {
        world.write("a/daily", DAILY);
        world.write("b/other", other);
        let library = world.library();
        for name in ["a/daily", "b/other"] {
            let complaint = library.query(name).expect_err(name).to_string();
            for word in ["\"a/daily\"", "\"b/other\"", shared] {
                assert!(complaint.contains(word), "{name}: {complaint}");
            }
        }
        let queries = library.queries().expect("read");
        assert!(queries.iter().all(|(_, query)| query.is_err()));
    };
    let (table, file) = ("\"daily\"", "\"daily.jsonl\"");
    check(&DAILY.replace(file, "\"x.jsonl\""), "table \"daily\"");
    check(&DAILY.replace(table, "\"other\""), "file \"daily.jsonl\"");
    // Another directory, another file.
    let weekly = DAILY.replace(table, "\"other\"").replace("dt", "week");
    world.write("b/other", &weekly);
    assert!(world.library().query("a/daily").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_messages_is_no_output() {
    let world = World::new().await;
    world.write("tables/landed", "--! description = \"a\"\nSELECT 1");
    for (taken, says) in [
        ("landed", "tables/landed.sql"),
        ("dead_letters", "refused messages"),
    ] {
        world.write(
            "daily",
            &DAILY.replace("\"daily\"", &format!("\"{taken}\"")),
        );
        let complaint = world.library().query("daily").expect_err(taken).to_string();
        assert!(
            complaint.contains("daily.sql:5") && complaint.contains(says),
            "{complaint}"
        );
    }
}
