//! What writers of one table may rely on beside each other.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use engine::lake::{
    Change, DataFile, Lake, MARK, Outcome, PartitionKey, StoreOptions, Stores, Swept, Table,
    TableSchema, Transaction, encode,
};
use tempfile::TempDir;
use url::Url;

struct World {
    directory: TempDir,
    lake: Arc<Lake>,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let stores = Stores::new(StoreOptions {
            user: "tester".to_owned(),
            limit: Duration::from_secs(30),
        });
        let url = Url::from_directory_path(directory.path()).expect("a URL");
        let lake = Lake::new(&url, stores).expect("a lake");
        Self { directory, lake }
    }

    fn columns() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
    }

    /// Another writer of the one table.
    async fn writer(&self) -> Table {
        let schema = TableSchema {
            columns: Self::columns(),
            partition: Vec::new(),
            description: "numbers".to_owned(),
        };
        let name = "numbers".parse().expect("a name");
        self.lake
            .open_or_create(&name, &schema)
            .await
            .expect("a table")
    }

    fn path(&self, below_the_table: &str) -> PathBuf {
        self.directory.path().join("numbers").join(below_the_table)
    }

    fn holds(&self, file: &DataFile) -> bool {
        self.path(file.path()).exists()
    }

    /// Puts a file where a killed writer has left one.
    fn leave(&self, below_the_table: &str) {
        fs::write(self.path(below_the_table), "cut sh").expect("written");
    }
}

async fn store(table: &Table) -> DataFile {
    let rows = vec![Arc::new(Int64Array::from(vec![1, 2])) as _];
    let rows = RecordBatch::try_new(World::columns(), rows).expect("rows");
    let encoded = encode(&World::columns(), &[rows]).expect("encoded");
    table
        .store(&PartitionKey::of(None, None), encoded)
        .await
        .expect("stored")
}

fn adding(file: &DataFile) -> Change {
    Change {
        add: vec![file.clone()],
        transactions: vec![Transaction::mark()],
        ..Change::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_commits_and_the_other_is_told() {
    let world = World::new();
    let (mut one, mut other) = (world.writer().await, world.writer().await);
    let (mine, theirs) = (store(&one).await, store(&other).await);
    assert_eq!(
        one.commit(&adding(&mine)).await.expect("committed"),
        Outcome::Committed(1)
    );
    let change = adding(&theirs);
    assert_eq!(
        other.commit(&change).await.expect("told"),
        Outcome::Superseded
    );
    assert_eq!(
        other.commit(&change).await.expect("committed"),
        Outcome::Committed(2)
    );
    let recorded = other.snapshot().transaction(MARK).await.expect("read");
    assert_eq!(recorded, Some(change.transactions[0].version));
    assert_eq!(other.snapshot().size().2, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_in_the_table_already_is_not_committed_again() {
    let world = World::new();
    let (mut one, mut same) = (world.writer().await, world.writer().await);
    let change = adding(&store(&one).await);
    one.commit(&change).await.expect("committed");
    // As after an answer that was lost: the writer believes that nothing happened.
    assert_eq!(
        same.commit(&change).await.expect("found"),
        Outcome::Committed(1)
    );
    assert_eq!(same.snapshot().size().2, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_spares_what_was_committed_since_it_looked() {
    let world = World::new();
    let (mut writer, mut sweeper) = (world.writer().await, world.writer().await);
    let file = store(&writer).await;
    writer.commit(&adding(&file)).await.expect("committed");
    sweeper.sweep().await.expect("swept");
    assert!(world.holds(&file));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swept_writer_cannot_commit_what_was_removed() {
    let world = World::new();
    let (mut killed, mut sweeper) = (world.writer().await, world.writer().await);
    let file = store(&killed).await;
    let swept = sweeper.sweep().await.expect("swept");
    assert_eq!(swept.files, 1);
    assert!(!world.holds(&file));
    // It was not dead after all; it learns that somebody claimed the table.
    assert_eq!(
        killed.commit(&adding(&file)).await.expect("told"),
        Outcome::Superseded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_entry_of_the_next_version_is_swept_though_nobody_commits_it() {
    let world = World::new();
    let mut sweeper = world.writer().await;
    let entry = "_delta_log/.00000000000000000001.json.tmp.1";
    world.leave(entry);
    let swept = sweeper.sweep().await.expect("swept");
    assert_eq!((swept.files, swept.bytes), (1, 6));
    assert!(!world.path(entry).exists());
    // The version that somebody might have renamed it to is taken.
    assert_eq!(sweeper.snapshot().version(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_files_that_the_local_store_hides_are_swept() {
    let world = World::new();
    let mut table = world.writer().await;
    let file = store(&table).await;
    table.commit(&adding(&file)).await.expect("committed");
    let hidden = [
        format!("{}#1", file.path()),
        "isobar-0.zstd.parquet#12".to_owned(),
        "_delta_log/00000000000000000001.json#1".to_owned(),
        "_delta_log/00000000000000000002.json#1".to_owned(),
        "_delta_log/00000000000000000001.checkpoint.parquet#1".to_owned(),
        "_delta_log/_last_checkpoint#1".to_owned(),
    ];
    hidden.iter().for_each(|path| world.leave(path));
    let of_others = ["part-0.snappy.parquet#1", "notes#2026"];
    of_others.iter().for_each(|path| world.leave(path));
    let swept = table.sweep().await.expect("swept");
    assert_eq!(swept.files, hidden.len());
    assert!(hidden.iter().all(|path| !world.path(path).exists()));
    assert!(of_others.iter().all(|path| world.path(path).exists()));
    assert!(world.holds(&file));
    assert_eq!(table.sweep().await.expect("swept"), Swept::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sweepers_at_once_remove_what_there_is_without_an_error() {
    let world = World::new();
    let (mut one, mut other) = (world.writer().await, world.writer().await);
    for number in 0..50 {
        world.leave(&format!("isobar-{number}.zstd.parquet"));
        world.leave(&format!("isobar-{number}.zstd.parquet#1"));
    }
    let (one, other) = tokio::join!(one.sweep(), other.sweep());
    let swept = one.expect("swept").files + other.expect("swept").files;
    assert_eq!(swept, 100);
}
