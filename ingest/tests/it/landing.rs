//! Export lines become rows once, whatever they are landed with, after or beside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::util::pretty::pretty_format_batches;
use chrono_tz::Europe::Paris;
use engine::lake::{Lake, StoreOptions, Stores};
use engine::query::{Days, Library, Published, Report, Runner};
use engine::session::Session;
use ingest::declaration::Declarations;
use ingest::land::{FileLanding, Limits, Progress, from_files};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::Url;

/// A lake, an export directory and what is needed to work on them.
struct World {
    directory: TempDir,
    lake: Arc<Lake>,
    session: Session,
    library: Library,
    declarations: Declarations,
}

impl World {
    async fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let stores = Stores::new(StoreOptions {
            user: "tester".to_owned(),
            limit: Duration::from_secs(30),
        });
        let url = Url::from_directory_path(directory.path().join("lake")).expect("a URL");
        let lake = Lake::new(&url, stores).expect("a lake");
        let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../queries");
        let library = Library::new(queries);
        let declarations = Declarations::load(&library, "weather-api", Paris)
            .await
            .expect("declarations");
        Self {
            session: Session::new(&lake, Paris).expect("a session"),
            directory,
            lake,
            library,
            declarations,
        }
    }

    /// Writes `lines` to a file of the export directory.
    fn export(&self, name: &str, lines: &[String]) {
        let path = self.exports().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        std::fs::write(path, lines.join("\n") + "\n").expect("written");
    }

    fn exports(&self) -> PathBuf {
        self.directory.path().join("weather")
    }

    async fn try_land(&self, place: &Path) -> Result<Progress, ingest::Error> {
        let url = Url::from_file_path(place).expect("a URL");
        let files = FileLanding {
            lake: &self.lake,
            session: &self.session,
            declarations: &self.declarations,
            tables: self.library.root(),
            topic: "weather-api",
            zone: Paris,
            place: self.lake.stores().locate(&url).expect("a place"),
            limits: Limits {
                rows_max: 100_000,
                bytes_max: 64 << 20,
                interval: Duration::from_secs(60),
            },
            watch: false,
        };
        from_files(files, CancellationToken::new(), &|_| ()).await
    }

    async fn land(&self) -> Progress {
        self.try_land(&self.exports()).await.expect("landed")
    }

    async fn rows(&self, sql: &str) -> String {
        let statement = engine::sql::parse_one(sql, "test").expect("SQL");
        let rows = self.session.query(&statement).await.expect("planned");
        let rows = rows.collect().await.expect("rows");
        let table = pretty_format_batches(&rows).expect("printable").to_string();
        table
            .lines()
            .filter(|line| line.starts_with('|'))
            .skip(1)
            .map(|line| {
                line.trim_matches('|')
                    .split('|')
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    async fn run(&self, days: Days) -> Report {
        let base = Url::from_directory_path(self.exports()).expect("a URL");
        let runner = Runner {
            lake: Arc::clone(&self.lake),
            session: self.session.clone(),
            base_path: self.lake.stores().locate(&base).expect("a place"),
            zone: Paris,
        };
        let query = self
            .library
            .query("weather/daily_weather_by_city")
            .expect("a query");
        runner
            .run(&query, &days, &BTreeMap::new(), &|_| ())
            .await
            .expect("run")
    }
}

/// An export line of Paris with this temperature, taken by Kafka at this local time; `observed` is UTC.
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
async fn lines_become_rows_of_every_table_once() {
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
    let first = world.land().await;
    assert_eq!(
        (first.landed, first.refused, first.skipped, first.commits),
        (3, 3, 1, 1)
    );
    let second = world.land().await;
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
        world.rows("SELECT dt, kafka_offset, event_time, temp, condition, sunrise, country, aqi FROM weather ORDER BY kafka_offset").await,
        "2026-01-15 1 2026-01-14T23:05:00Z 3.0 Rain  FR 2.0\n\
         2026-01-15 2 2026-01-15T22:59:59Z 5.0 Rain  FR 2.0\n\
         2026-01-16 3 2026-01-15T23:00:00Z 7.0 Rain  FR 2.0"
    );
    assert_eq!(
        world
            .rows("SELECT count(*), min(temp), max(rain_3h) FROM weather_forecast")
            .await,
        "6 1.5 2.0"
    );
    assert_eq!(
        world
            .rows("SELECT line, reason, kafka_offset FROM dead_letters ORDER BY line")
            .await,
        "5 invalid_json 9\n6 empty \n7 implausible_temperature 4"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_publishes_only_what_changed() {
    let world = World::new().await;
    world.export(
        "a.json",
        &[
            line(1, "2026-01-15 10:00:00", "2026-01-15T09:00:00Z", 3.0),
            line(2, "2026-01-15 11:00:00", "2026-01-15T10:00:00Z", 5.0),
            line(3, "2026-01-16 10:00:00", "2026-01-16T09:00:00Z", 7.0),
        ],
    );
    world.land().await;
    let published = |report: &Report| {
        report
            .partitions
            .iter()
            .map(|run| run.published)
            .collect::<Vec<_>>()
    };
    let first = world.run(Days::All).await;
    assert_eq!(published(&first), [Published::Rows(1), Published::Rows(1)]);
    let file = world.exports().join("dt=2026-01-15/aggregates.jsonl");
    assert_eq!(
        std::fs::read_to_string(&file).expect("published"),
        "{\"dt\":\"2026-01-15\",\"city_id\":2988507,\"city\":\"Paris\",\"country\":\"FR\",\"observations\":2,\
         \"temp_avg\":4.0,\"temp_min\":3.0,\"temp_max\":5.0,\"rain_1h_sum\":1.0,\"rain_3h_sum\":null,\
         \"snow_1h_sum\":null,\"snow_3h_sum\":null,\"rain_total\":null,\"snow_total\":null,\"aqi_avg\":2.0}\n"
    );
    let again = world.run(Days::All).await;
    assert_eq!(
        published(&again),
        [Published::Unchanged, Published::Unchanged]
    );
    assert_eq!(again.version, None);
    world.export(
        "b.json",
        &[line(4, "2026-01-15 12:00:00", "2026-01-15T11:00:00Z", 10.0)],
    );
    world.land().await;
    let late = world.run(Days::All).await;
    assert_eq!(published(&late), [Published::Rows(1), Published::Unchanged]);
    std::fs::remove_file(&file).expect("removed");
    let lost = world.run(Days::All).await;
    assert_eq!(published(&lost), [Published::Rows(1), Published::Unchanged]);
    assert_eq!(
        world
            .rows("SELECT dt, observations, temp_avg FROM daily_weather_by_city ORDER BY dt")
            .await,
        "2026-01-15 3 6.0\n2026-01-16 1 7.0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_passes_of_the_repeated_hour_land() {
    let world = World::new().await;
    world.export(
        "a.json",
        &[
            line(1, "2026-10-25 02:30:00", "2026-10-25T00:25:00Z", 3.0),
            line(2, "2026-10-25 02:30:00", "2026-10-25T01:25:00Z", 5.0),
        ],
    );
    // The autumn lies ahead of the clock on most days, and such an event time is refused.
    let landed = world.land().await;
    let expected = if chrono::Utc::now()
        > "2026-10-24T01:30:00Z"
            .parse::<chrono::DateTime<chrono::Utc>>()
            .expect("an instant")
    {
        (2, 0)
    } else {
        (0, 2)
    };
    assert_eq!((landed.landed, landed.refused), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_read_leaves_no_trace() {
    let world = World::new().await;
    std::fs::create_dir_all(world.exports()).expect("created");
    let empty = world.try_land(&world.exports()).await.expect_err("empty");
    assert!(empty.to_string().contains("no export files"), "{empty}");
    let absent = world
        .try_land(&world.directory.path().join("absent"))
        .await
        .expect_err("absent");
    assert!(absent.to_string().contains("nothing at"), "{absent}");
    assert!(!world.directory.path().join("lake").exists());
}
