//! What writers of one table may rely on beside each other.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use lake::Error;
use lake::{
    AppTransaction, CommitActions, CommitOutcome, DataFile, Encoded, Lake, PartitionKey,
    RemovedFiles, Snapshot, Table, TableName, TableSchema, encode,
};
use tempfile::TempDir;
use url::Url;

use crate::local::lake_in;

const TOKEN: &str = "test/mark";

struct World {
    directory: TempDir,
    lake: Arc<Lake>,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let lake = lake_in(directory.path());
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
        self.lake
            .open_or_create(&Self::name(), &schema)
            .await
            .expect("a table")
    }

    fn path(&self, below_the_table: &str) -> PathBuf {
        self.directory.path().join("numbers").join(below_the_table)
    }

    fn holds(&self, file: &DataFile) -> bool {
        self.path(file.path()).exists()
    }

    fn name() -> TableName {
        "numbers".parse().expect("a name")
    }

    async fn reader(&self) -> Option<Arc<Snapshot>> {
        self.lake.snapshot(&Self::name()).await.expect("read")
    }

    /// As if the last commit had been made an hour ago: file systems round times, and tests are
    /// fast.
    fn age(&self, version: u64) {
        let entry = self.path(&format!("_delta_log/{version:020}.json"));
        let entry = fs::File::options().write(true).open(entry).expect("open");
        let hour = Duration::from_secs(3600);
        entry
            .set_modified(SystemTime::now() - hour)
            .expect("an older entry");
    }

    fn drop_table(&self) {
        fs::remove_dir_all(self.path("")).expect("removed");
    }

    /// Puts a file where a killed writer has left one.
    fn leave(&self, below_the_table: &str) {
        fs::write(self.path(below_the_table), "cut sh").expect("written");
    }
}

fn encoded() -> Encoded {
    let rows = vec![Arc::new(Int64Array::from(vec![1, 2])) as _];
    let rows = RecordBatch::try_new(World::columns(), rows).expect("rows");
    encode(&World::columns(), &[rows]).expect("encoded")
}

async fn store(table: &Table) -> DataFile {
    table
        .store(&PartitionKey::of(None, None), encoded())
        .await
        .expect("stored")
}

/// Commits one file `times` times.
async fn commit(table: &mut Table, times: usize) {
    for _ in 0..times {
        let file = store(table).await;
        table.commit(&adding(&file)).await.expect("committed");
    }
}

/// Commits one file, on top of concurrent commits.
async fn commit_once(table: &mut Table) -> DataFile {
    let file = store(table).await;
    let actions = adding(&file);
    while table.commit(&actions).await.expect("answered") == CommitOutcome::Conflict {}
    file
}

fn adding(file: &DataFile) -> CommitActions {
    CommitActions {
        add: vec![file.clone()],
        transactions: vec![AppTransaction::unique(TOKEN)],
        ..CommitActions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_commit_on_one_version_conflicts() {
    let world = World::new();
    let (mut one, mut other) = (world.writer().await, world.writer().await);
    let (mine, theirs) = (store(&one).await, store(&other).await);
    assert_eq!(
        one.commit(&adding(&mine)).await.expect("committed"),
        CommitOutcome::Committed(1)
    );
    let actions = adding(&theirs);
    assert_eq!(
        other.commit(&actions).await.expect("answered"),
        CommitOutcome::Conflict
    );
    assert_eq!(
        other.commit(&actions).await.expect("committed"),
        CommitOutcome::Committed(2)
    );
    let recorded = other.snapshot().transaction(TOKEN).await.expect("read");
    assert_eq!(recorded, Some(actions.transactions[0].version));
    assert_eq!(other.snapshot().size().2, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_that_are_in_the_table_are_not_committed_again() {
    let world = World::new();
    let (mut one, mut same) = (world.writer().await, world.writer().await);
    let actions = adding(&store(&one).await);
    one.commit(&actions).await.expect("committed");
    // As after a lost answer: the writer does not know that its commit succeeded.
    assert_eq!(
        same.commit(&actions).await.expect("found"),
        CommitOutcome::Committed(1)
    );
    assert_eq!(same.snapshot().size().2, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn file_committed_after_the_table_was_opened_is_no_orphan() {
    let world = World::new();
    let (mut writer, mut sweeper) = (world.writer().await, world.writer().await);
    let file = store(&writer).await;
    writer.commit(&adding(&file)).await.expect("committed");
    sweeper.remove_orphan_files().await.expect("removed");
    assert!(world.holds(&file));
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_of_a_removed_file_conflicts_with_the_fence() {
    let world = World::new();
    let (mut killed, mut sweeper) = (world.writer().await, world.writer().await);
    let file = store(&killed).await;
    let removed = sweeper.remove_orphan_files().await.expect("removed");
    assert_eq!(removed.files, 1);
    assert!(!world.holds(&file));
    // The writer was not killed after all: its commit conflicts with the fence.
    assert_eq!(
        killed.commit(&adding(&file)).await.expect("answered"),
        CommitOutcome::Conflict
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_log_entry_of_the_next_version_is_removed_behind_a_fence() {
    let world = World::new();
    let mut sweeper = world.writer().await;
    let entry = "_delta_log/.00000000000000000001.json.tmp.1";
    world.leave(entry);
    let removed = sweeper.remove_orphan_files().await.expect("removed");
    assert_eq!((removed.files, removed.bytes), (1, 6));
    assert!(!world.path(entry).exists());
    // The fence has taken the version that a writer could have renamed the entry to.
    assert_eq!(sweeper.snapshot().version(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_files_hidden_by_the_local_store_are_removed() {
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
    let removed = table.remove_orphan_files().await.expect("removed");
    assert_eq!(removed.files, hidden.len());
    assert!(hidden.iter().all(|path| !world.path(path).exists()));
    assert!(of_others.iter().all(|path| world.path(path).exists()));
    assert!(world.holds(&file));
    assert_eq!(
        table.remove_orphan_files().await.expect("removed"),
        RemovedFiles::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_removals_remove_each_file_once() {
    let world = World::new();
    let (mut one, mut other) = (world.writer().await, world.writer().await);
    for number in 0..50 {
        world.leave(&format!("isobar-{number}.zstd.parquet"));
        world.leave(&format!("isobar-{number}.zstd.parquet#1"));
    }
    let (one, other) = tokio::join!(one.remove_orphan_files(), other.remove_orphan_files());
    let removed = one.expect("removed").files + other.expect("removed").files;
    assert_eq!(removed, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_concurrent_removals_share_a_fence() {
    for _ in 0..5 {
        let world = World::new();
        let mut sweepers = Vec::new();
        for _ in 0..20 {
            sweepers.push(world.writer().await);
        }
        world.leave("isobar-1.zstd.parquet");
        let removals = sweepers.iter_mut().map(Table::remove_orphan_files);
        let removed = futures::future::join_all(removals).await;
        let files = removed
            .into_iter()
            .map(|removed| removed.expect("removed").files);
        assert_eq!(files.sum::<usize>(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fencing_token_older_than_the_listing_does_not_fence() {
    let world = World::new();
    let (mut first, mut writer) = (world.writer().await, world.writer().await);
    let mut late = world.writer().await;
    world.leave("isobar-1.zstd.parquet");
    first.remove_orphan_files().await.expect("removed");
    // The writer has seen that token before it uploads; only a newer one makes it upload again.
    let known = commit_once(&mut writer).await;
    let file = store(&writer).await;
    let removed = late.remove_orphan_files().await.expect("removed");
    assert_eq!(removed.files, 1);
    assert!(world.holds(&known) && !world.holds(&file));
    assert_eq!(
        writer.commit(&adding(&file)).await.expect("answered"),
        CommitOutcome::Conflict
    );
}

/// The library would commit the second creation as a version of its own, with another table id.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_several_create_at_once_is_created_once() {
    for _ in 0..20 {
        let world = World::new();
        let writers = futures::future::join_all((0..8).map(|_| world.writer())).await;
        let reader = world.reader().await.expect("a table");
        assert_eq!(reader.version(), 0, "it was created again");
        assert!(writers.iter().all(|one| one.snapshot().version() == 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_notices_a_recreated_table() {
    for (before, after) in [(2, 1), (1, 1), (1, 2), (0, 0)] {
        let world = World::new();
        commit(&mut world.writer().await, before).await;
        world.age(before as u64);
        let old = world.reader().await.expect("a table");
        world.drop_table();
        commit(&mut world.writer().await, after).await;
        let new = world.reader().await.expect("a table");
        let case = format!("{before} commits, then {after}");
        assert_eq!(old.size().0, before, "{case}");
        assert_eq!(
            (new.size().0, new.version()),
            (after, after as u64),
            "{case}"
        );
        let again = world.reader().await.expect("a table");
        assert!(Arc::ptr_eq(&new, &again), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_notices_a_table_that_was_dropped() {
    let world = World::new();
    commit(&mut world.writer().await, 1).await;
    assert!(world.reader().await.is_some());
    world.drop_table();
    assert!(world.reader().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_stops_when_its_table_was_dropped_or_recreated() {
    for recreated in [None, Some(0), Some(1), Some(3)] {
        let world = World::new();
        let mut writer = world.writer().await;
        commit(&mut writer, 1).await;
        world.age(1);
        // What it has read of the log must have the time that it has now.
        let mut writer = world.writer().await;
        let file = store(&writer).await;
        world.drop_table();
        if let Some(commits) = recreated {
            commit(&mut world.writer().await, commits).await;
        }
        let stopped = writer.commit(&adding(&file)).await;
        let is_named = matches!(stopped, Err(Error::TableReplaced { .. }));
        assert!(is_named, "{recreated:?}: {stopped:?}");
        let entry = world.path("_delta_log/00000000000000000002.json");
        assert_eq!(entry.exists(), recreated == Some(3), "{recreated:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_continue_after_log_cleanup() {
    let world = World::new();
    let mut writer = world.writer().await;
    commit(&mut writer, 50).await;
    let old = world.reader().await.expect("a table");
    let mut idle = world.writer().await;
    commit(&mut writer, 55).await;
    clean_up_log(&world, 99);
    let new = world.reader().await.expect("a table");
    assert_eq!((old.version(), new.version()), (50, 105));
    // It is the same table, so its late writer gets a conflict like any other.
    let actions = adding(&store(&idle).await);
    let outcome = idle.commit(&actions).await.expect("answered");
    assert_eq!(outcome, CommitOutcome::Conflict);
    let outcome = idle.commit(&actions).await.expect("committed");
    assert_eq!(outcome, CommitOutcome::Committed(106));
}

/// Log cleanup, as the library does it: entries before a checkpoint are deleted.
fn clean_up_log(world: &World, checkpoint: u64) {
    let path = |name: String| world.path(&format!("_delta_log/{name}"));
    assert!(path(format!("{checkpoint:020}.checkpoint.parquet")).exists());
    for version in 0..checkpoint {
        fs::remove_file(path(format!("{version:020}.json"))).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn app_transactions_are_read_from_entries_and_checkpoints() {
    let world = World::new();
    let mut writer = world.writer().await;
    let mut recorded = Vec::new();
    for number in 0..105 {
        // Each app id twice, on either side of the checkpoint: the later version wins.
        let transaction = AppTransaction::unique(&format!("name {}", number % 60));
        let actions = CommitActions {
            transactions: vec![transaction.clone()],
            ..CommitActions::default()
        };
        writer.commit(&actions).await.expect("committed");
        recorded.retain(|(name, _)| *name != transaction.app_id);
        recorded.push((transaction.app_id, transaction.version));
    }
    let check = async |case: &str| {
        let reader = world.writer().await;
        for (name, version) in &recorded {
            let found = reader.snapshot().transaction(name).await.expect("read");
            assert_eq!(found, Some(*version), "{name}, {case}");
        }
        let none = reader.snapshot().transaction("name").await.expect("read");
        assert_eq!(none, None, "{case}");
    };
    check("with all entries").await;
    clean_up_log(&world, 99);
    check("with the entries behind the checkpoint").await;
    // A checkpoint in a form that only the library reads.
    let checkpoint = |name: &str| {
        world.path(&format!(
            "_delta_log/00000000000000000099.checkpoint{name}.parquet"
        ))
    };
    fs::rename(checkpoint(""), checkpoint(".0000000001.0000000001")).expect("renamed");
    check("with a checkpoint in parts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_escaped_partition_directories_are_no_orphans() {
    let world = World::new();
    let schema = TableSchema {
        columns: Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("p", DataType::Utf8, true),
        ])),
        partition: vec!["p".to_owned()],
        description: "numbers".to_owned(),
    };
    let name = World::name();
    let mut table = world
        .lake
        .open_or_create(&name, &schema)
        .await
        .expect("a table");
    let mut files = Vec::new();
    for value in ["a b", "a/b", "50 %", "%41", "ü", "x#1", "a:b=c", "."] {
        let key = PartitionKey::of(Some("p"), Some(&ScalarValue::from(value)));
        let file = table.store(&key, encoded()).await.expect("stored");
        table.commit(&adding(&file)).await.expect("committed");
        files.push(file);
    }
    world.leave("isobar-0.zstd.parquet");
    let removed = table.remove_orphan_files().await.expect("removed");
    assert_eq!(removed.files, 1);
    // Where the log says, as any reader of Delta looks for them.
    assert!(files.iter().all(|file| world.holds(file)));
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_removes_temporary_files_of_a_killed_writer() {
    let world = World::new();
    let day = world.directory.path().join("weather/dt=2026-01-15");
    fs::create_dir_all(day.join("below")).expect("a directory");
    let place = Url::from_file_path(day.join("aggregates.jsonl")).expect("a URL");
    let place = world.lake.stores().locate(&place).expect("a place");
    let leftovers = ["aggregates.jsonl#1", ".aggregates.jsonl.tmp.2"];
    let others = [
        "other.jsonl#1",
        ".other.jsonl.tmp.2",
        "below/aggregates.jsonl#1",
        "weather.json",
    ];
    for name in leftovers.iter().chain(&others) {
        fs::write(day.join(name), "{").expect("written");
    }
    place.replace("{}\n".into()).await.expect("replaced");
    assert_eq!(
        fs::read(day.join("aggregates.jsonl")).expect("read"),
        b"{}\n"
    );
    assert!(leftovers.iter().all(|name| !day.join(name).exists()));
    assert!(others.iter().all(|name| day.join(name).exists()));
}
