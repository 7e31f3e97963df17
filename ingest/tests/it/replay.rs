//! Replay of dead letters by a corrected declaration.

use chrono_tz::Europe::Paris;
use ingest::dead_letters::{Address, Filter, find, list, summary};
use ingest::declaration::Declarations;
use ingest::land::Replayed;
use jobs::Library;

use crate::world::{World, queries};

const MESSAGE: &str = concat!(
    r#""value": {"weather": {"id": 1, "name": "Paris", "dt": 1768467600, "main": {"temp": TEMP}}, "#,
    r#""precipitations_info": {}, "air_pollution": {"list": [{"main": {"aqi": 2}}]}, "#,
    r#""forecast": {"list": [{"dt": 1768471200, "main": {"temp": 1.5}}, {"dt": 1768474800}]}}"#
);

/// A well-formed line, an implausibly hot one, a truncated one, and twice a line whose temperature
/// is text and which does not begin with its identity.
fn lines() -> Vec<String> {
    let identity = |offset| {
        format!(
            r#""kafka_partition": 0, "kafka_offset": {offset}, "event_time": "2026-01-15 10:00:00""#
        )
    };
    let line = |offset, temp| {
        format!(
            "{{{}, {}}}",
            identity(offset),
            MESSAGE.replace("TEMP", temp)
        )
    };
    let turned = format!("{{{}, {}}}", MESSAGE.replace("TEMP", "\"7\""), identity(4));
    vec![
        line(1, "3.5"),
        line(2, "285.3"),
        line(3, "3.5")[..60].to_owned(),
        turned.clone(),
        turned,
    ]
}

/// A world with dead letters of the repository's declarations, and with corrected declarations.
async fn world() -> World {
    let mut world = World::new().await;
    world.export("a.json", &lines());
    let landed = world.land(&world.exports()).await.expect("landed");
    assert_eq!((landed.landed, landed.refused), (1, 4));
    let corrected = world.directory.path().join("queries/tables");
    std::fs::create_dir_all(&corrected).expect("created");
    for file in ["weather.sql", "weather_forecast.sql"] {
        let text = std::fs::read_to_string(queries().join("tables").join(file)).expect("a file");
        let text = text.replace(
            "['temp'] NOT BETWEEN -90 AND 60",
            "['temp'] NOT BETWEEN -90 AND 400",
        );
        std::fs::write(corrected.join(file), text).expect("written");
    }
    world.library = Library::new(world.directory.path().join("queries"));
    world.declarations = Declarations::load(
        &world.library.table_files().expect("table files"),
        "weather-api",
        Paris,
    )
    .await
    .expect("declarations");
    world
}

async fn rows_as_text(world: &World, sql: &str) -> String {
    let rows = world.rows(sql).await.expect("rows");
    let lines: Vec<_> = rows.iter().map(|row| row.join(" ")).collect();
    lines.join("\n")
}

fn counts(replayed: &Replayed) -> [u64; 4] {
    [
        replayed.validated,
        replayed.landed,
        replayed.present,
        replayed.malformed,
    ]
}

const WEATHER: &str =
    "SELECT kafka_offset, temp, count(*) FROM weather GROUP BY ALL ORDER BY kafka_offset";
const LEFT: &str = "3 invalid_json\n4 wrong_type\n5 wrong_type";
const DEAD_LETTERS: &str = "SELECT line, reason FROM dead_letters ORDER BY line";

#[tokio::test(flavor = "multi_thread")]
async fn replayed_dead_letter_becomes_rows_and_is_removed() {
    let world = world().await;
    let before = "2 implausible_temperature\n3 invalid_json\n4 wrong_type\n5 wrong_type";
    assert_eq!(rows_as_text(&world, DEAD_LETTERS).await, before);
    let looked = world.replay(Filter::default(), true).await;
    assert_eq!(counts(&looked), [4, 1, 0, 3]);
    assert_eq!(
        rows_as_text(&world, DEAD_LETTERS).await,
        before,
        "nothing was changed"
    );
    let replayed = world.replay(Filter::default(), false).await;
    assert_eq!(counts(&replayed), [4, 1, 0, 3]);
    let rows: Vec<_> = replayed.rows.values().copied().collect();
    assert_eq!(rows, [1, 2], "of weather and weather_forecast");
    assert_eq!(rows_as_text(&world, WEATHER).await, "1 3.5 1\n2 285.3 1");
    assert_eq!(rows_as_text(&world, DEAD_LETTERS).await, LEFT);
    let again = world.replay(Filter::default(), false).await;
    assert_eq!(counts(&again), [3, 0, 0, 3]);
    // A landing by the previous declaration skips the message: it has rows.
    let library = Library::new(queries());
    let declarations = Declarations::load(
        &library.table_files().expect("table files"),
        "weather-api",
        Paris,
    )
    .await;
    let previous = World {
        declarations: declarations.expect("declarations"),
        ..world
    };
    let landed = previous.land(&previous.exports()).await.expect("landed");
    assert_eq!((landed.landed, landed.refused, landed.skipped), (0, 0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_killed_replay_are_landed_once() {
    let world = world().await;
    world.replay(Filter::default(), false).await;
    // The state after a crash: the rows are committed, and their dead letters are still there.
    forget_last_commit(&world, "dead_letters");
    let replayed = world.replay(Filter::default(), false).await;
    assert_eq!(counts(&replayed), [4, 0, 1, 3]);
    assert_eq!(rows_as_text(&world, WEATHER).await, "1 3.5 1\n2 285.3 1");
    // A crash between the commits of two tables: the replay completes the other table.
    forget_last_commit(&world, "dead_letters");
    forget_last_commit(&world, "weather_forecast");
    let replayed = world.replay(Filter::default(), false).await;
    assert_eq!(counts(&replayed), [4, 1, 0, 3]);
    assert_eq!(rows_as_text(&world, WEATHER).await, "1 3.5 1\n2 285.3 1");
    let forecasts = "SELECT kafka_offset, count(*) FROM weather_forecast GROUP BY ALL ORDER BY 1";
    assert_eq!(rows_as_text(&world, forecasts).await, "1 2\n2 2");
    assert_eq!(rows_as_text(&world, DEAD_LETTERS).await, LEFT);
}

fn forget_last_commit(world: &World, table: &str) {
    let log = world
        .directory
        .path()
        .join("lake")
        .join(table)
        .join("_delta_log");
    let entries = std::fs::read_dir(log).expect("listed");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let commits = paths.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    std::fs::remove_file(commits.max().expect("a commit")).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_filtered_counted_and_found() {
    let world = world().await;
    let count = |batches: &[arrow::record_batch::RecordBatch]| -> usize {
        batches
            .iter()
            .map(arrow::record_batch::RecordBatch::num_rows)
            .sum()
    };
    let check = async |filter: Filter, expected: usize| {
        let (_, rows) = list(&world.session, &filter, None).await.expect("listed");
        assert_eq!(count(&rows), expected, "{filter:?}");
        let validated = world.replay(filter, true).await.validated;
        assert_eq!(validated, expected as u64, "a replay selects the same");
    };
    let now = chrono::Utc::now();
    check(Filter::default(), 4).await;
    let reasons = vec!["wrong_type".to_owned(), "invalid_json".to_owned()];
    check(
        Filter {
            reasons,
            ..Filter::default()
        },
        3,
    )
    .await;
    let source = Some("kafka".to_owned());
    check(
        Filter {
            source,
            ..Filter::default()
        },
        0,
    )
    .await;
    check(
        Filter {
            until: Some(now),
            ..Filter::default()
        },
        4,
    )
    .await;
    check(
        Filter {
            since: Some(now),
            ..Filter::default()
        },
        0,
    )
    .await;
    let (_, rows) = summary(&world.session, &Filter::default())
        .await
        .expect("counted");
    assert_eq!(count(&rows), 3);
    let address: Address = "weather-api/0/2".parse().expect("an address");
    let found = find(&world.session, &address).await.expect("found");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].value, lines()[1].as_bytes());
    assert_eq!(found[0].address(), address);
    let place = world.exports().join("a.json");
    let address: Address = format!("{}:5", place.display())
        .parse()
        .expect("an address");
    let found = find(&world.session, &address).await.expect("found");
    assert_eq!(found[0].address(), address);
}
