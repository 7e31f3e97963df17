//! `system.completeness` says what the logs say, and nothing else.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use chrono_tz::Europe::Paris;
use engine::runtime::{Runtime, RuntimeOptions};
use engine::session::Session;
use lake::{
    AppTransaction, CommitActions, IDENTITY, Lake, PositionNames, Table, TableSchema, TopicNames,
};
use tempfile::TempDir;

use crate::local::lake_in;

struct World {
    lake: Arc<Lake>,
    session: Session,
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let lake = lake_in(directory.path());
        let session = Session::new(
            &lake,
            Paris,
            &Runtime::new(&RuntimeOptions::default()).expect("a runtime"),
        )
        .expect("a session");
        Self {
            lake,
            session,
            directory,
        }
    }

    /// A table with the columns of landed ones.
    async fn landed(&self, name: &str) -> Table {
        let types = [DataType::Utf8, DataType::Int32, DataType::Int64];
        let columns = IDENTITY.into_iter().zip(types);
        self.table(name, columns.collect()).await
    }

    async fn table(&self, name: &str, columns: Vec<(&str, DataType)>) -> Table {
        let columns = columns.into_iter();
        let columns = columns.map(|(name, data_type)| Field::new(name, data_type, true));
        let schema = TableSchema {
            columns: Arc::new(Schema::new(columns.collect::<Vec<_>>())),
            partition: Vec::new(),
            description: "rows".to_owned(),
        };
        let name = name.parse().expect("a name");
        let table = self.lake.open_or_create(&name, &schema).await;
        table.expect("a table")
    }

    async fn ask(&self, text: &str) -> RecordBatch {
        let statement = engine::sql::parse_one(text, "a test").expect("SQL");
        let planned = self.session.query(&statement).await.expect("planned");
        let schema = Arc::clone(planned.schema().inner());
        let rows = planned.collect().await.expect("asked");
        arrow::compute::concat_batches(&schema, &rows).expect("one batch")
    }

    /// A line for each topic partition and table: topic, topic partition, table, offset, seconds,
    /// version.
    async fn completeness(&self) -> Vec<String> {
        let found = self
            .ask("SELECT kafka_topic, kafka_partition, table_name, next_offset, to_unixtime(complete_until), table_version FROM system.completeness")
            .await;
        let line = |row| {
            let columns = found.columns().iter();
            let texts = columns.map(|column| array_value_to_string(column, row).expect("a text"));
            texts.collect::<Vec<_>>().join(" ")
        };
        (0..found.num_rows()).map(line).collect()
    }
}

/// Records that `table` has `topic` up to these offsets, and event times in seconds.
async fn record(table: &mut Table, topic: &str, progress: &[(i32, i64, Option<i64>)]) {
    let (names, positions) = (TopicNames::of(topic), PositionNames::kafka(topic));
    let mut transactions = vec![AppTransaction::unique(&names.landing_token())];
    let mut record = |app_id, version| {
        transactions.push(AppTransaction { app_id, version });
    };
    let [high, low] = names.id();
    record(high, 1);
    record(low, 2);
    for (partition, next, newest_s) in progress {
        record(positions.position(*partition), *next);
        if let Some(newest_s) = newest_s {
            record(positions.newest_event(*partition), newest_s * 1_000_000);
        }
    }
    let actions = CommitActions {
        transactions,
        ..CommitActions::default()
    };
    table.commit(&actions).await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_table_lists_its_progress_by_topic_partition() {
    let world = World::new();
    assert_eq!(world.completeness().await, Vec::<String>::new());
    let mut weather = world.landed("weather").await;
    let mut letters = world.landed("dead_letters").await;
    world.landed("from_files_alone").await;
    let output = vec![("city", DataType::Utf8)];
    let mut output = world.table("an_output", output).await;
    // A table without identity columns has no landed rows, so its recorded position does not count.
    record(&mut output, "t", &[(0, 9, None)]).await;
    record(&mut weather, "t", &[(0, 5, Some(100)), (11, 7, None)]).await;
    record(&mut letters, "t", &[(0, 4, Some(90))]).await;
    record(&mut letters, "a/b", &[(0, 1, Some(10))]).await;
    let expected = [
        "a/b 0 dead_letters 1 10 2",
        "t 0 dead_letters 4 90 2",
        "t 0 weather 5 100 1",
        "t 11 weather 7  1",
    ];
    assert_eq!(world.completeness().await, expected);
    // A commit is in the next answer, and what it does not name stays.
    record(&mut weather, "t", &[(0, 6, Some(100))]).await;
    let found = world.completeness().await;
    assert_eq!(found[2..], ["t 0 weather 6 100 2", "t 11 weather 7  2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_and_a_long_absence_change_nothing() {
    let world = World::new();
    let mut weather = world.landed("weather").await;
    record(&mut weather, "t", &[(3, 1, Some(50))]).await;
    assert_eq!(world.completeness().await, ["t 3 weather 1 50 1"]);
    for next in 2..=205 {
        record(&mut weather, "t", &[(0, next, Some(next))]).await;
    }
    let log = world.directory.path().join("weather/_delta_log");
    let files = std::fs::read_dir(log).expect("listed");
    let mut names = files.map(|file| file.expect("a file").file_name());
    let checkpoint = names.any(|name| name.to_string_lossy().contains("checkpoint"));
    assert!(checkpoint, "there is none to read");
    let expected = ["t 0 weather 205 205 205", "t 3 weather 1 50 205"];
    assert_eq!(world.completeness().await, expected);
    let (found, last) = (
        world
            .ask("SELECT max(last_commit), sum(table_rows) FROM system.completeness")
            .await,
        weather.snapshot().committed_ms().expect("it says when"),
    );
    let committed = found.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(committed.value(0), last * 1000);
    assert_eq!(found.column(1).as_primitive::<Int64Type>().value(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_listed_and_only_read_and_no_input_of_a_query() {
    let world = World::new();
    let listed = world
        .ask("SELECT table_schema FROM information_schema.tables WHERE table_name = 'completeness'")
        .await;
    assert_eq!(listed.column(0).len(), 1);
    let schemas = listed.column(0);
    assert_eq!(array_value_to_string(schemas, 0).expect("text"), "system");
    let parse = |text| engine::sql::parse_one(text, "a test").expect("SQL");
    let statement = parse("INSERT INTO system.completeness SELECT * FROM system.completeness");
    assert!(world.session.query(&statement).await.is_err());
    let statement = parse("SELECT 1 FROM lake.weather, system.completeness");
    let read = world.session.tables_of(&statement).await.expect("planned");
    assert_eq!(read, ["weather".parse().expect("a name")]);
}
