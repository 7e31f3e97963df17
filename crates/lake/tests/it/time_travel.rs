//! Older versions of a table.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lake::{
    AsOf, CommitActions, Error, Lake, PartitionKey, Snapshot, Table, TableName, TableSchema, encode,
};
use tempfile::TempDir;
use url::Url;

use crate::local::lake_in;

fn name() -> TableName {
    "numbers".parse().expect("a name")
}

fn columns(names: &[&str]) -> SchemaRef {
    let fields = names
        .iter()
        .map(|name| Field::new(*name, DataType::Int64, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

async fn open(lake: &Arc<Lake>, names: &[&str]) -> Table {
    let schema = TableSchema {
        columns: columns(names),
        partition: Vec::new(),
        description: "numbers".to_owned(),
    };
    let table = lake.open_or_create(&name(), &schema).await;
    table.expect("a table")
}

/// Commits a file of one row more.
async fn commit_row(table: &mut Table) {
    let columns = table.snapshot().file_schema();
    let row = columns
        .fields()
        .iter()
        .map(|_| Arc::new(Int64Array::from(vec![1])) as _);
    let row = RecordBatch::try_new(Arc::clone(&columns), row.collect()).expect("a row");
    let encoded = encode(&columns, &[row]).expect("encoded");
    let key = PartitionKey::of(None, None);
    let file = table.store(&key, encoded).await.expect("stored");
    let actions = CommitActions {
        add: vec![file],
        ..CommitActions::default()
    };
    table.commit(&actions).await.expect("committed");
}

/// A table with one row at version 1, two at version 2, and another column from version 3 on.
async fn numbers(directory: &Path) -> Arc<Lake> {
    let lake = lake_in(directory);
    let mut table = open(&lake, &["a"]).await;
    commit_row(&mut table).await;
    commit_row(&mut table).await;
    open(&lake, &["a", "b"]).await;
    lake
}

async fn at(lake: &Lake, as_of: AsOf) -> Result<Arc<Snapshot>, Error> {
    let snapshot = lake.snapshot_at(&name(), as_of).await?;
    Ok(snapshot.expect("a table"))
}

fn rows(snapshot: &Snapshot) -> Option<u64> {
    snapshot.size().2
}

fn entry(directory: &Path, version: u64) -> std::path::PathBuf {
    directory.join(format!("numbers/_delta_log/{version:020}.json"))
}

#[tokio::test(flavor = "multi_thread")]
async fn older_version_has_its_own_files_and_columns() {
    let directory = TempDir::new().expect("a directory");
    let lake = numbers(directory.path()).await;
    for (version, expected, names) in [
        (0, 0, &["a"][..]),
        (1, 1, &["a"]),
        (2, 2, &["a"]),
        (3, 2, &["a", "b"]),
    ] {
        let snapshot = at(&lake, AsOf::Version(version)).await.expect("a version");
        assert_eq!(snapshot.version(), version);
        assert_eq!(rows(&snapshot), Some(expected), "version {version}");
        assert_eq!(snapshot.columns(), columns(names), "version {version}");
    }
    let newest = lake.snapshot(&name()).await.expect("read");
    assert_eq!(newest.expect("a table").version(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_means_the_version_that_was_newest_then() {
    let directory = TempDir::new().expect("a directory");
    let lake = numbers(directory.path()).await;
    let now = SystemTime::now();
    for (version, hours) in [(0, 4), (1, 3), (2, 2), (3, 1)] {
        let file = std::fs::File::options()
            .write(true)
            .open(entry(directory.path(), version))
            .expect("an entry");
        file.set_modified(now - Duration::from_secs(3600 * hours))
            .expect("older");
    }
    let ago = |minutes: u64| AsOf::Timestamp((now - Duration::from_secs(60 * minutes)).into());
    for (minutes, version) in [(239, 0), (150, 1), (90, 2), (1, 3)] {
        let snapshot = at(&lake, ago(minutes)).await.expect("a version");
        assert_eq!(snapshot.version(), version, "{minutes} minutes ago");
    }
    let refused = at(&lake, ago(300))
        .await
        .expect_err("there was no table yet");
    assert!(
        matches!(
            refused,
            Error::NoSuchVersion {
                oldest: 0,
                newest: 3,
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn version_that_the_log_lost_is_refused_by_number() {
    let directory = TempDir::new().expect("a directory");
    let lake = numbers(directory.path()).await;
    let refused = at(&lake, AsOf::Version(4)).await.expect_err("version 4");
    assert_eq!(
        refused.to_string(),
        "table \"numbers\" has no version 4: its log has versions 0 to 3; ask for one of these"
    );
    let absent = "nothing".parse().expect("a name");
    let absent = lake.snapshot_at(&absent, AsOf::Version(0)).await;
    assert!(absent.expect("answered").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn url_and_version_name_a_snapshot() {
    let directory = TempDir::new().expect("a directory");
    let lake = numbers(directory.path()).await;
    let known = at(&lake, AsOf::Version(1)).await.expect("a version");
    let (url, version) = (known.location().url().clone(), known.version());
    let rebuilt = Snapshot::at_url(lake.stores(), &url, version).await;
    let rebuilt = rebuilt.expect("a snapshot");
    assert_eq!(rebuilt.name(), known.name());
    assert_eq!(rebuilt.table_id(), known.table_id());
    assert_eq!(rows(&rebuilt), Some(1));
    let elsewhere = Url::from_directory_path(directory.path().join("nothing")).expect("a URL");
    let refused = Snapshot::at_url(lake.stores(), &elsewhere, 0).await;
    assert!(matches!(refused, Err(Error::NoSuchTable { .. })));
}
