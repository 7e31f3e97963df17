//! A table and its declaration: what it gains, what is refused, and how older data files are read
//! then.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray,
    StructArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono_tz::UTC;
use engine::runtime::{Runtime, RuntimeOptions};
use engine::session::Session;
use lake::Error;
use lake::{CommitActions, CommitOutcome, Lake, Table, TableName, TableSchema, encode, split};
use tempfile::TempDir;

use crate::local::lake_in;

struct World {
    _directory: TempDir,
    lake: Arc<Lake>,
    session: Session,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let lake = lake_in(directory.path());
        Self {
            session: Session::new(
                &lake,
                UTC,
                &Runtime::new(&RuntimeOptions::default()).expect("a runtime"),
            )
            .expect("a session"),
            lake,
            _directory: directory,
        }
    }

    fn name() -> TableName {
        "t".parse().expect("a name")
    }

    /// A writer by a declaration with these columns.
    async fn open(&self, columns: &[(&str, DataType)]) -> Result<Table, Error> {
        let schema = TableSchema {
            columns: Arc::new(schema(columns)),
            partition: vec!["day".to_owned()],
            description: "rows".to_owned(),
        };
        self.lake.open_or_create(&Self::name(), &schema).await
    }

    /// The rows that a statement answers, one a line.
    async fn rows(&self, sql: &str) -> String {
        let statement = engine::sql::parse_one(sql, "test").expect(sql);
        let rows = self.session.query(&statement).await.expect(sql);
        let batches = rows.collect().await.expect(sql);
        let options = FormatOptions::default().with_null("NULL");
        let mut lines = Vec::new();
        for batch in &batches {
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
                .collect();
            let line = |row| {
                let cells = columns.iter().map(|column| column.value(row).to_string());
                cells.collect::<Vec<_>>().join(" ")
            };
            lines.extend((0..batch.num_rows()).map(line));
        }
        lines.join("\n")
    }
}

fn schema(columns: &[(&str, DataType)]) -> Schema {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// Stores rows and commits them.
async fn put(
    table: &mut Table,
    columns: &[(&str, DataType)],
    values: Vec<ArrayRef>,
) -> Result<CommitOutcome, Error> {
    let rows = RecordBatch::try_new(Arc::new(schema(columns)), values).expect("rows");
    let mut actions = CommitActions::default();
    for (key, rows) in split(&[rows], &["day".to_owned()]).expect("parts") {
        let encoded = encode(&table.snapshot().file_schema(), &rows).expect("encoded");
        actions.add.push(table.store(&key, encoded).await?);
    }
    table.commit(&actions).await
}

const OLD: [(&str, DataType); 2] = [("day", DataType::Utf8), ("a", DataType::Int64)];
const NEW: [(&str, DataType); 4] = [
    ("day", DataType::Utf8),
    // Of the type of another column, so that a column in a wrong place would show.
    ("c", DataType::Int64),
    ("a", DataType::Int64),
    ("b", DataType::Float64),
];

/// Rows of one declaration, then of one that has gained `b` and `c`.
async fn grown() -> World {
    let world = World::new();
    let mut old = world.open(&OLD).await.expect("created");
    let rows = vec![texts(&["x", "x", "y"]), numbers(&[1, 2, 3])];
    put(&mut old, &OLD, rows).await.expect("committed");
    let mut new = world.open(&NEW).await.expect("evolved");
    let b = Arc::new(Float64Array::from(vec![Some(0.5), None])) as ArrayRef;
    let rows = vec![texts(&["y", "z"]), numbers(&[10, 20]), numbers(&[4, 5]), b];
    put(&mut new, &NEW, rows).await.expect("committed");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gained_column_is_null_in_older_rows() {
    let world = grown().await;
    let check = async |sql: &str, expected: &str| {
        assert_eq!(world.rows(sql).await, expected, "{sql}");
    };
    check(
        "SELECT * FROM t ORDER BY a",
        "x 1 NULL NULL\nx 2 NULL NULL\ny 3 NULL NULL\ny 4 10 0.5\nz 5 20 NULL",
    )
    .await;
    // By statistics, by pruning and by the filters of the scan.
    check("SELECT count(*), count(b), count(c) FROM t", "5 1 2").await;
    check(
        "SELECT min(b), max(b), min(c), max(c), sum(c) FROM t",
        "0.5 0.5 10 20 30",
    )
    .await;
    check("SELECT a FROM t WHERE b = 0.5", "4").await;
    check("SELECT a FROM t WHERE c > 10 ORDER BY a", "5").await;
    check("SELECT a FROM t WHERE c IS NULL ORDER BY a", "1\n2\n3").await;
    check("SELECT a FROM t WHERE b IS NOT NULL", "4").await;
    check(
        "SELECT a FROM t WHERE c IS DISTINCT FROM 10 ORDER BY a",
        "1\n2\n3\n5",
    )
    .await;
    check(
        "SELECT a FROM t WHERE day = 'x' AND coalesce(c, 7) = 7 ORDER BY a",
        "1\n2",
    )
    .await;
    check("SELECT count(c), count(*) FROM t WHERE day = 'x'", "0 2").await;
    check(
        "SELECT a FROM t ORDER BY c DESC NULLS LAST, a LIMIT 3",
        "5\n4\n1",
    )
    .await;
    check("SELECT DISTINCT c FROM t WHERE day = 'x'", "NULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_gained_once_and_no_file_changes() {
    let world = grown().await;
    let before = world
        .lake
        .snapshot(&World::name())
        .await
        .expect("read")
        .expect("a table");
    // Created, one commit of rows, one of columns, one of rows; two older files.
    assert_eq!((before.version(), before.size().0), (3, 4));
    let again = world.open(&NEW).await.expect("opened");
    assert_eq!(again.snapshot().version(), before.version());
    let names: Vec<_> = before
        .columns()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names,
        ["day", "a", "c", "b"],
        "behind those that were there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_declaration_lost_or_changed_is_refused() {
    let world = grown().await;
    let check = async |columns: &[(&str, DataType)], says: &[&str]| {
        let refused = world.open(columns).await.expect_err("refused").to_string();
        for text in says {
            assert!(refused.contains(text), "{text} in {refused}");
        }
    };
    check(&OLD, &["\"b\"", "loses no column", "NULL AS b"]).await;
    let mut other = NEW;
    other[2].1 = DataType::Float64;
    check(&other, &["\"a\"", "Int64", "Float64", "keeps its type"]).await;
    let mut more = NEW.to_vec();
    more.remove(1);
    more.push(("d", DataType::Int64));
    // Nothing is added when something else is wrong.
    check(&more, &["\"c\"", "loses no column"]).await;
    let snapshot = world
        .lake
        .snapshot(&World::name())
        .await
        .expect("read")
        .expect("a table");
    assert!(snapshot.columns().index_of("d").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_lists_and_structs_is_opened_again() {
    let world = World::new();
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append_value([Some(1), None]);
    let lists = Arc::new(lists.finish()) as ArrayRef;
    let inner = Arc::new(Field::new("n", DataType::Int64, true));
    let structs = Arc::new(StructArray::from(vec![(inner, numbers(&[7]))])) as ArrayRef;
    let columns = [
        ("day", DataType::Utf8),
        ("l", lists.data_type().clone()),
        ("s", structs.data_type().clone()),
    ];
    for version in [1, 2] {
        let mut table = world.open(&columns).await.expect("opened");
        let rows = vec![texts(&["x"]), Arc::clone(&lists), Arc::clone(&structs)];
        put(&mut table, &columns, rows).await.expect("committed");
        assert_eq!(table.snapshot().version(), version);
    }
    assert_eq!(
        world.rows("SELECT * FROM t").await,
        "x [1, NULL] {n: 7}\nx [1, NULL] {n: 7}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_by_the_older_declaration_stops() {
    let world = World::new();
    let mut old = world.open(&OLD).await.expect("created");
    world.open(&NEW).await.expect("evolved");
    let rows = vec![texts(&["x"]), numbers(&[1])];
    let refused = put(&mut old, &OLD, rows).await.expect_err("refused");
    assert!(matches!(refused, Error::ColumnsChanged { .. }), "{refused}");
    assert_eq!(world.rows("SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_may_name_its_columns_in_another_order() {
    let world = grown().await;
    let order = [3, 2, 0, 1].map(|place: usize| NEW[place].clone());
    let mut table = world.open(&order).await.expect("opened");
    let b = Arc::new(Float64Array::from(vec![9.5])) as ArrayRef;
    let rows = vec![b, numbers(&[6]), texts(&["z"]), numbers(&[30])];
    put(&mut table, &order, rows).await.expect("committed");
    assert_eq!(
        world.rows("SELECT * FROM t WHERE a = 6").await,
        "z 6 30 9.5"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_gain_columns_at_the_same_time_both_get_theirs() {
    let world = World::new();
    world.open(&OLD).await.expect("created");
    let (one, other) = tokio::join!(world.open(&NEW), world.open(&NEW));
    for table in [one, other] {
        let columns = table.expect("evolved").snapshot().columns();
        assert_eq!(columns.fields().len(), 4);
    }
}
