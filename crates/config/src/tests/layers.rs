//! Which layer gives a key its value.

use std::fs;
use std::time::Duration;

use settings::ByteSize;

use super::super::*;
use super::{Place, check_shown};

#[test]
fn nothing_at_all_gives_the_defaults() {
    let place = Place::new();
    let Config {
        time,
        lake,
        hdfs,
        export,
        openweather,
        kafka,
        postgres,
        hbase,
        queries,
        run,
        land,
        ..
    } = place.load().config;
    assert_eq!(time.zone, chrono_tz::Europe::Paris);
    assert_eq!(lake.url.as_str(), "hdfs://namenode:8020/user/hdfs/isobar");
    assert_eq!(
        (hdfs.url, hdfs.user, hdfs.timeout),
        (None, None, Duration::from_secs(10))
    );
    assert_eq!(
        export.base_path.as_str(),
        "hdfs://namenode:8020/user/hdfs/weather"
    );
    assert_eq!(openweather.cities, ["Paris"]);
    assert_eq!(
        openweather
            .base_url
            .join("data/2.5/weather")
            .unwrap()
            .path(),
        "/data/2.5/weather"
    );
    assert_eq!(
        (openweather.interval, openweather.units),
        (Duration::from_secs(600), Units::Metric)
    );
    assert_eq!(openweather.calls_per_minute, 60);
    assert!(openweather.api_key.is_none());
    assert_eq!(kafka.bootstrap_servers, ["localhost:9092"]);
    assert_eq!((postgres.port, postgres.password.is_none()), (5432, true));
    assert_eq!((hbase.enabled, hbase.port), (false, 9090));
    assert_eq!(queries.path, place.directory.path().join("queries"));
    assert!(run.only_today);
    assert_eq!(
        (land.rows_max, land.bytes_max, land.interval),
        (500_000, ByteSize(256 << 20), Duration::from_secs(60))
    );
}

#[test]
fn services_listen_on_ports_of_their_own() {
    let Config {
        serve,
        produce,
        consume,
        land,
        export,
        schedule,
        ..
    } = Place::new().load().config;
    let ports = [
        serve.http_listen,
        produce.http_listen,
        consume.http_listen,
        land.http_listen,
        export.http_listen,
        schedule.http_listen,
    ]
    .map(|address| (address.ip().is_loopback(), address.port()));
    assert_eq!(
        ports,
        [9464, 9465, 9466, 9467, 9468, 9469].map(|port| (true, port))
    );
    assert_eq!(serve.flight_listen.to_string(), "127.0.0.1:32010");
}

#[test]
fn each_layer_beats_the_next() {
    let place = Place::new();
    check_shown(&place, "kafka.topic", "\"weather-api\"", "default");
    let place = place.file("isobar.toml", "\n[kafka]\ntopic = \"file\"\n");
    check_shown(&place, "kafka.topic", "\"file\"", "isobar.toml:3");
    let place = place.file(".env", "TOPIC_NAME=dotenv\n");
    check_shown(&place, "kafka.topic", "\"dotenv\"", ".env: TOPIC_NAME");
    let place = place.file(
        ".env",
        "ISOBAR__KAFKA__TOPIC=dotenv-own\nTOPIC_NAME=dotenv\n",
    );
    check_shown(
        &place,
        "kafka.topic",
        "\"dotenv-own\"",
        ".env: ISOBAR__KAFKA__TOPIC",
    );
    let place = place.variable("TOPIC_NAME", "older");
    check_shown(&place, "kafka.topic", "\"older\"", "variable TOPIC_NAME");
    let place = place.variable("ISOBAR__KAFKA__TOPIC", "own");
    check_shown(
        &place,
        "kafka.topic",
        "\"own\"",
        "variable ISOBAR__KAFKA__TOPIC",
    );
    let place = place.set("kafka.topic", "first").set("kafka.topic", "flag");
    check_shown(&place, "kafka.topic", "\"flag\"", "flag --set");
    assert_eq!(place.load().config.kafka.topic, "flag");
}

#[test]
fn the_variables_of_the_older_pipeline_count() {
    let older = [
        ("OPENWEATHER_API_KEY", "k", "openweather.api_key", "\"***\""),
        (
            "CITY",
            "Lyon,FR;Nice",
            "openweather.cities",
            "[\"Lyon,FR\", \"Nice\"]",
        ),
        (
            "BOOTSTRAP_SERVERS",
            "a:9092,b:9093",
            "kafka.bootstrap_servers",
            "[\"a:9092\", \"b:9093\"]",
        ),
        ("TOPIC_NAME", "t", "kafka.topic", "\"t\""),
        ("GROUP_ID", "g", "kafka.group_id", "\"g\""),
        ("POSTGRES_HOST", "h", "postgres.host", "\"h\""),
        ("POSTGRES_PORT", "1", "postgres.port", "1"),
        ("POSTGRES_DB", "d", "postgres.database", "\"d\""),
        ("POSTGRES_USER", "u", "postgres.user", "\"u\""),
        ("POSTGRES_PASSWORD", "p", "postgres.password", "\"***\""),
        (
            "HDFS_URL",
            "http://nn:9870",
            "hdfs.url",
            "\"http://nn:9870\"",
        ),
        ("HDFS_USER", "u", "hdfs.user", "\"u\""),
        (
            "HDFS_BASE_PATH",
            "/x",
            "export.base_path",
            "\"hdfs://nn:8020/x\"",
        ),
        ("MR_PROCESS_ONLY_TODAY", "False", "run.only_today", "false"),
        ("HBASE_ENABLED", "yes", "hbase.enabled", "true"),
        ("HBASE_HOST", "h", "hbase.host", "\"h\""),
        ("HBASE_PORT", "9095", "hbase.port", "9095"),
    ];
    let place = older.iter().fold(Place::new(), |place, (name, value, ..)| {
        place.variable(name, value)
    });
    for (name, _, key, value) in older {
        check_shown(&place, key, value, &format!("variable {name}"));
    }
}

#[test]
fn an_empty_variable_is_not_set() {
    let place = Place::new()
        .variable("CITY", "")
        .variable("ISOBAR__HDFS__USER", "")
        .variable("ISOBAR_CONFIG", "");
    check_shown(&place, "openweather.cities", "[\"Paris\"]", "default");
    check_shown(&place, "hdfs.user", "", "default");
}

#[test]
fn a_wrong_value_that_does_not_count_stops_nobody() {
    // Kubernetes sets this one when a service is called `postgres`.
    let place = Place::new()
        .variable("POSTGRES_PORT", "tcp://10.0.0.1:5432")
        .variable("ISOBAR__POSTGRES__PORT", "5433");
    assert_eq!(place.load().config.postgres.port, 5433);
}

#[test]
fn the_file_is_the_one_that_was_named() {
    let text = |topic: &str| format!("kafka.topic = \"{topic}\"");
    let place = Place::new()
        .file("isobar.toml", &text("usual"))
        .file("other.toml", &text("other"));
    check_shown(&place, "kafka.topic", "\"usual\"", "isobar.toml:1");
    let place = place.file(".env", "ISOBAR_CONFIG=other.toml");
    check_shown(&place, "kafka.topic", "\"other\"", "other.toml:1");
    let place = place.variable("ISOBAR_CONFIG", "isobar.toml");
    check_shown(&place, "kafka.topic", "\"usual\"", "isobar.toml:1");
    let path = place.directory.path().join("other.toml");
    let place = place.config(&path);
    check_shown(
        &place,
        "kafka.topic",
        "\"other\"",
        &format!("{}:1", path.display()),
    );
}

#[test]
fn a_named_file_that_cannot_be_read_is_an_error() {
    let missing = "No such file or directory (os error 2)";
    let place = Place::new().config("conf/missing.toml");
    assert_eq!(
        place.refused(),
        format!(
            "could not read the configuration file \"conf/missing.toml\" (flag --config): {missing}"
        )
    );
    let place = Place::new().variable("ISOBAR_CONFIG", "missing.toml");
    assert_eq!(
        place.refused(),
        format!(
            "could not read the configuration file \"missing.toml\" (variable ISOBAR_CONFIG): {missing}"
        )
    );
    let place = Place::new();
    fs::create_dir(place.directory.path().join("isobar.toml")).unwrap();
    assert_eq!(
        place.refused(),
        "could not read the configuration file \"isobar.toml\": Is a directory (os error 21)"
    );
}
