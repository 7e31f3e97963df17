//! Landing of export files, and runs over the landed rows.

use std::collections::BTreeMap;

use ingest::land::Progress;
use jobs::{PartitionSelection, Published, Report};

use crate::world::World;

async fn land(world: &World) -> Progress {
    world.land(&world.exports()).await.expect("landed")
}

async fn run(world: &World) -> Report {
    let name = "weather/daily_weather_by_city";
    let report = world
        .run(name, &PartitionSelection::All, &BTreeMap::new())
        .await;
    report.expect("run")
}

/// The rows of a statement, one on each line.
async fn rows(world: &World, sql: &str) -> String {
    let rows = world.rows(sql).await.expect("rows");
    let lines: Vec<_> = rows.iter().map(|row| row.join(" ")).collect();
    lines.join("\n")
}

/// An export line of Paris with this temperature. `event_time` is the local time of the message in
/// Kafka, `observed` that of the weather in UTC.
fn line(offset: i64, event_time: &str, observed: &str, temp: f64) -> String {
    let observed: chrono::DateTime<chrono::Utc> = observed.parse().expect("an instant");
    let observed = observed.timestamp();
    format!(
        concat!(
            r#"{{"kafka_partition": 0, "kafka_offset": {}, "event_time": "{}", "value": {{"#,
            r#""weather": {{"id": 2988507, "name": "Paris", "dt": {}, "main": {{"temp": {}, "humidity": 80}}, "#,
            r#""sys": {{"country": "FR", "sunrise": 0, "sunset": 1768000000}}, "weather": [{{"id": 500, "main": "Rain"}}]}}, "#,
            r#""precipitations_info": {{"rain_1h": 0.5}}, "#,
            r#""air_pollution": {{"list": [{{"main": {{"aqi": 2}}, "components": {{"co": 200.1}}}}]}}, "#,
            r#""forecast": {{"list": [{{"dt": {}, "main": {{"temp": 1.5}}}}, {{"dt": {}, "rain": {{"3h": 2}}}}]}}}}}}"#
        ),
        offset,
        event_time,
        observed,
        temp,
        observed + 3600,
        observed + 3 * 3600,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn line_becomes_rows_of_each_table_once() {
    let world = World::new().await;
    let lines = [
        line(1, "2026-01-15 00:05:00", "2026-01-14T23:00:00Z", 3.0),
        line(2, "2026-01-15 23:59:59", "2026-01-15T22:58:00Z", 5.0),
        line(2, "2026-01-15 23:59:59", "2026-01-15T22:58:00Z", 5.0),
        line(3, "2026-01-16 00:00:00", "2026-01-15T22:58:00Z", 7.0),
        "{\"kafka_partition\": 0, \"kafka_offset\": 9, \"event_time\"".to_owned(),
        String::new(),
        line(4, "2026-01-15 00:05:00", "2026-01-14T23:00:00Z", 300.0),
    ];
    world.export("dt=2026-01-15/weather_1.json", &lines);
    let first = land(&world).await;
    assert_eq!(
        (first.landed, first.refused, first.skipped, first.commits),
        (3, 3, 1, 1)
    );
    let second = land(&world).await;
    assert_eq!(
        (
            second.landed,
            second.refused,
            second.skipped,
            second.commits
        ),
        (0, 0, 7, 0)
    );
    assert_eq!(
        rows(&world, "SELECT dt, kafka_offset, event_time, temp, condition, sunrise, country, aqi FROM weather ORDER BY kafka_offset").await,
        "2026-01-15 1 2026-01-14T23:05:00Z 3.0 Rain NULL FR 2.0\n\
         2026-01-15 2 2026-01-15T22:59:59Z 5.0 Rain NULL FR 2.0\n\
         2026-01-16 3 2026-01-15T23:00:00Z 7.0 Rain NULL FR 2.0"
    );
    assert_eq!(
        rows(
            &world,
            "SELECT count(*), min(temp), max(rain_3h) FROM weather_forecast"
        )
        .await,
        "6 1.5 2.0"
    );
    assert_eq!(
        rows(
            &world,
            "SELECT line, reason, kafka_offset FROM dead_letters ORDER BY line"
        )
        .await,
        "5 invalid_json 9\n6 empty NULL\n7 implausible_temperature 4"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn run_publishes_changed_partitions_only() {
    let world = World::new().await;
    world.export(
        "a.json",
        &[
            line(1, "2026-01-15 10:00:00", "2026-01-15T09:00:00Z", 3.0),
            line(2, "2026-01-15 11:00:00", "2026-01-15T10:00:00Z", 5.0),
            line(3, "2026-01-16 10:00:00", "2026-01-16T09:00:00Z", 7.0),
        ],
    );
    land(&world).await;
    let published = |report: &Report| {
        report
            .partitions
            .iter()
            .map(|run| run.published)
            .collect::<Vec<_>>()
    };
    let first = run(&world).await;
    assert_eq!(published(&first), [Published::Rows(1), Published::Rows(1)]);
    let file = world.exports().join("dt=2026-01-15/aggregates.jsonl");
    assert_eq!(
        std::fs::read_to_string(&file).expect("published"),
        "{\"dt\":\"2026-01-15\",\"city_id\":2988507,\"city\":\"Paris\",\"country\":\"FR\",\"observations\":2,\
         \"temp_avg\":4.0,\"temp_min\":3.0,\"temp_max\":5.0,\"rain_1h_sum\":1.0,\"rain_3h_sum\":null,\
         \"snow_1h_sum\":null,\"snow_3h_sum\":null,\"rain_total\":null,\"snow_total\":null,\"aqi_avg\":2.0,\
         \"place_id\":\"2988507\"}\n"
    );
    let again = run(&world).await;
    assert_eq!(
        published(&again),
        [Published::Unchanged, Published::Unchanged]
    );
    assert_eq!(again.version, None);
    world.export(
        "b.json",
        &[line(4, "2026-01-15 12:00:00", "2026-01-15T11:00:00Z", 10.0)],
    );
    land(&world).await;
    let late = run(&world).await;
    assert_eq!(published(&late), [Published::Rows(1), Published::Unchanged]);
    std::fs::remove_file(&file).expect("removed");
    let lost = run(&world).await;
    assert_eq!(published(&lost), [Published::Rows(1), Published::Unchanged]);
    assert_eq!(
        rows(
            &world,
            "SELECT dt, observations, temp_avg FROM daily_weather_by_city ORDER BY dt"
        )
        .await,
        "2026-01-15 3 6.0\n2026-01-16 1 7.0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn landing_without_files_creates_nothing() {
    let world = World::new().await;
    std::fs::create_dir_all(world.exports()).expect("created");
    let empty = world.land(&world.exports()).await.expect_err("empty");
    assert!(empty.to_string().contains("no export files"), "{empty}");
    let absent = world
        .land(&world.directory.path().join("absent"))
        .await
        .expect_err("absent");
    assert!(absent.to_string().contains("nothing at"), "{absent}");
    assert!(!world.directory.path().join("lake").exists());
}
