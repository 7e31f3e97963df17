//! A table that a process rebuilds from its URL and version.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use chrono_tz::UTC;
use engine::runtime::{Runtime, RuntimeOptions};
use engine::scan::LakeTable;
use engine::session::Session;
use lake::{CommitActions, PartitionKey, TableSchema, encode};
use tempfile::TempDir;

use crate::local::lake_in;

#[tokio::test(flavor = "multi_thread")]
async fn table_by_url_and_version_scans_the_rows_of_that_version() {
    let directory = TempDir::new().expect("a directory");
    let lake = lake_in(directory.path());
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let session = Session::new(&lake, UTC, &runtime).expect("a session");
    let columns = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let schema = TableSchema {
        columns: Arc::clone(&columns),
        partition: Vec::new(),
        description: "numbers".to_owned(),
    };
    let name = "numbers".parse().expect("a name");
    let mut table = lake.open_or_create(&name, &schema).await.expect("a table");
    for value in [1, 20, 300] {
        let row = Arc::new(Int64Array::from(vec![value])) as _;
        let row = RecordBatch::try_new(Arc::clone(&columns), vec![row]).expect("a row");
        let encoded = encode(&columns, &[row]).expect("encoded");
        let key = PartitionKey::of(None, None);
        let file = table.store(&key, encoded).await.expect("stored");
        let actions = CommitActions {
            add: vec![file],
            ..CommitActions::default()
        };
        table.commit(&actions).await.expect("committed");
    }
    let url = table.snapshot().location().url().clone();
    for (version, expected) in [(0, vec![]), (2, vec![1, 20]), (3, vec![1, 20, 300])] {
        let scanned = LakeTable::at_url(lake.stores(), &url, version).await;
        let scanned = Arc::new(scanned.expect("a table"));
        let rows = session.context().read_table(scanned).expect("planned");
        let batches = rows.collect().await.expect("rows");
        let mut found: Vec<i64> = Vec::new();
        for batch in &batches {
            let column = batch.column(0).as_any().downcast_ref::<Int64Array>();
            found.extend(column.expect("numbers").values());
        }
        found.sort_unstable();
        assert_eq!(found, expected, "version {version}");
    }
}
