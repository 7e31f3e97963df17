use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{BATCH_BYTES_MAX, Outgoing, Spool, SpooledMessage};
use crate::error::Error;

const LIMIT: u64 = 10;

fn outgoing(city_id: i64, value: &str) -> Outgoing {
    Outgoing {
        city_id,
        event_time_ms: 1_768_431_600_123,
        value: value.to_owned().into(),
    }
}

fn open(directory: &Path) -> Spool {
    Spool::open(directory, LIMIT).expect("a spool")
}

/// The values of the next batch.
async fn next(spool: &Spool, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    for waiting in spool.batch(count).await.unwrap_or_default() {
        let message = spool
            .load(&waiting)
            .await
            .expect("a readable file")
            .expect("a file");
        values.push(String::from_utf8(message.value.to_vec()).expect("UTF-8"));
    }
    values
}

async fn remove(spool: &Spool, count: usize) {
    for waiting in spool.batch(count).await.expect("some") {
        spool.remove(&waiting);
    }
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a directory").count() - 1
}

#[tokio::test]
async fn messages_keep_their_order_after_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(directory.path());
    for (city, value) in [(1, "a"), (2, "b"), (-3, "c")] {
        spool.push(outgoing(city, value)).await;
    }
    assert_eq!(next(&spool, 10).await, ["a", "b", "c"]);
    remove(&spool, 1).await;
    drop(spool);
    let spool = open(directory.path());
    spool.push(outgoing(4, "d")).await;
    assert_eq!(next(&spool, 10).await, ["b", "c", "d"]);
    let [first, ..] = &spool.batch(10).await.expect("some")[..] else {
        panic!("nothing waits");
    };
    let loaded = spool.load(first).await.expect("a readable file");
    assert_eq!(loaded, Some(outgoing(2, "b")));
    remove(&spool, 10).await;
    assert_eq!((spool.waiting(), files(directory.path())), (0, 0));
}

#[tokio::test]
async fn batch_has_each_city_once_and_is_bounded() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(directory.path());
    for (city, value) in [(1, "a1"), (2, "b1"), (1, "a2"), (3, "c1"), (2, "b2")] {
        spool.push(outgoing(city, value)).await;
    }
    for (count, expected) in [(10, &["a1", "b1"][..]), (10, &["a2", "c1", "b2"])] {
        assert_eq!(next(&spool, count).await, expected);
        remove(&spool, count).await;
    }
    let large = "x".repeat(usize::try_from(BATCH_BYTES_MAX).expect("a small number"));
    for (city, value) in [(1, "d"), (2, large.as_str()), (3, "e")] {
        spool.push(outgoing(city, value)).await;
    }
    for expected in ["d", &large, "e"] {
        assert!(next(&spool, 10).await == [expected]);
        remove(&spool, 10).await;
    }
}

#[tokio::test]
async fn spool_is_full_at_its_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(directory.path());
    for (value, is_full) in [
        ("12345", false),
        ("1234", false),
        ("1", true),
        ("more", true),
    ] {
        spool.push(outgoing(1, value)).await;
        assert_eq!(spool.problem().is_some(), is_full, "{value}");
    }
    drop(spool);
    let spool = open(directory.path());
    assert!(spool.problem().is_some());
    assert_eq!(
        (spool.messages_gauge.get(), spool.bytes_gauge.get()),
        (4, 14)
    );
    for _ in 0..3 {
        remove(&spool, 1).await;
    }
    assert_eq!(
        (spool.problem().is_some(), spool.bytes_gauge.get()),
        (false, 4)
    );
}

#[tokio::test]
async fn reader_is_woken_by_message_and_by_close() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Arc::new(open(directory.path()));
    let reader = {
        let spool = Arc::clone(&spool);
        tokio::spawn(async move {
            let mut seen = 0;
            while let Some(batch) = spool.batch(10).await {
                seen += batch.len();
                batch.iter().for_each(|waiting| spool.remove(waiting));
            }
            seen
        })
    };
    for value in ["a", "b", "c"] {
        spool.push(outgoing(1, value)).await;
    }
    spool.close();
    assert_eq!(reader.await.expect("the reader ends"), 3);
    spool.finished().await;
}

#[tokio::test]
async fn failed_write_keeps_the_message_in_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("spool");
    let spool = open(&place);
    fs::remove_dir_all(&place).expect("a directory");
    spool.push(outgoing(1, "a")).await;
    let problem = spool.problem().expect("it is not on disk");
    assert!(
        problem.contains("cannot be written") && spool.unwritten() == 1,
        "{problem}"
    );
    assert_eq!(next(&spool, 10).await, ["a"]);
    remove(&spool, 10).await;
    assert_eq!((spool.waiting(), spool.problem()), (0, None));
}

#[tokio::test]
async fn partial_and_foreign_files_are_ignored() {
    let directory = tempfile::tempdir().expect("a directory");
    let cut_short = "00000000000000000007_1_2.tmp";
    for name in [
        cut_short,
        "README",
        "1_2_3.json",
        "00000000000000000001_x_3.json",
    ] {
        fs::write(directory.path().join(name), "{}").expect("a file");
    }
    let spool = open(directory.path());
    assert_eq!(spool.waiting(), 0);
    assert!(!directory.path().join(cut_short).exists() && directory.path().join("README").exists());
}

#[tokio::test]
async fn removed_file_is_skipped() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(directory.path());
    spool.push(outgoing(1, "a")).await;
    let batch = spool.batch(10).await.expect("some");
    fs::remove_file(directory.path().join(batch[0].file_name())).expect("a file");
    assert_eq!(spool.load(&batch[0]).await.expect("no failure"), None);
}

#[test]
fn unusable_directory_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let _first = open(directory.path());
    let taken = Spool::open(directory.path(), LIMIT).expect_err("a lock");
    assert!(matches!(taken, Error::SpoolTaken { .. }), "{taken}");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file");
    let error = Spool::open(&file.join("spool"), LIMIT).expect_err("a file in the way");
    assert!(error.to_string().contains("produce.spool_path"), "{error}");
}

#[test]
fn file_name_has_number_city_and_time() {
    for (number, city_id, name) in [
        (0, 2_988_507, "00000000000000000000_2988507_12.json"),
        (u64::MAX, -1, "18446744073709551615_-1_12.json"),
    ] {
        let waiting = SpooledMessage {
            number,
            city_id,
            event_time_ms: 12,
            bytes: 3,
            unwritten: None,
        };
        assert_eq!(waiting.file_name(), name);
        assert_eq!(SpooledMessage::from_file_name(name, 3), Some(waiting));
    }
}
