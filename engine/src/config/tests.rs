//! Loading as a whole: which layer wins, and what a user reads when something is wrong.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A directory of files and an environment, both empty at first.
struct Place {
    directory: TempDir,
    sources: Sources,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources {
            file: None,
            overrides: Vec::new(),
            variables: Default::default(),
            directory: directory.path().to_owned(),
        };
        Self { directory, sources }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources
            .variables
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.sources
            .overrides
            .push((key.to_owned(), value.to_owned()));
        self
    }

    fn config(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.file = Some(path.as_ref().to_owned());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The value of a key and where it came from, as `config show` prints them.
    fn shows(&self, key: &str) -> (String, String) {
        let settings = self.load().settings;
        let setting = settings
            .into_iter()
            .find(|setting| setting.key == key)
            .unwrap();
        (
            setting.value.unwrap_or_default(),
            setting.origin.to_string(),
        )
    }

    fn refused(&self) -> String {
        load(&self.sources).unwrap_err().to_string()
    }
}

#[track_caller]
fn check_shown(place: &Place, key: &str, value: &str, origin: &str) {
    assert_eq!(place.shows(key), (value.to_owned(), origin.to_owned()));
}

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

#[test]
fn unknown_names_are_refused_where_they_stand() {
    let place = Place::new()
        .file(
            "isobar.toml",
            "topic = \"x\"\nlake = \"/data\"\n[kafka]\ntopik = \"x\"\n[exports]\nx = 1\n[spark]\n[[log]]\n",
        )
        .file(".env", "ISOBAR__KAFKA__GROUPID=x\nSPARK_HOME=/opt\n")
        .variable("ISOBAR__POSTGRES__PASWORD", "hunter2")
        .variable("ISOBAR__KAFKA__TOPIC_FILE", "x")
        .set("kafka.brokers", "x");
    let sections = "time, lake, hdfs, export, openweather, kafka, postgres, hbase, queries, run, land, produce, \
                    consume, schedule, serve, log";
    let expect = [
        "flag --set: unknown key \"kafka.brokers\"; there are kafka.bootstrap_servers, kafka.topic, kafka.group_id, \
         kafka.security_protocol, kafka.root_certificate, kafka.client_certificate, kafka.client_key, \
         kafka.client_key_password, kafka.sasl_mechanism, kafka.sasl_username, kafka.sasl_password",
        "variable ISOBAR__KAFKA__TOPIC_FILE: unknown variable; did you mean \"ISOBAR__KAFKA__TOPIC\"?",
        "variable ISOBAR__POSTGRES__PASWORD: unknown variable; did you mean \"ISOBAR__POSTGRES__PASSWORD\"?",
        ".env: ISOBAR__KAFKA__GROUPID: unknown variable; did you mean \"ISOBAR__KAFKA__GROUP_ID\"?",
        "isobar.toml:1: unknown key \"topic\"; did you mean \"kafka.topic\"?",
        "isobar.toml:2: \"lake\" is a section, to be written [lake] and once",
        "isobar.toml:4: unknown key \"kafka.topik\"; did you mean \"kafka.topic\"?",
        "isobar.toml:5: unknown section [exports]; did you mean \"export\"?",
        &format!("isobar.toml:7: unknown section [spark]; there are {sections}"),
        "isobar.toml:8: \"log\" is a section, to be written [log] and once",
    ];
    assert_eq!(place.refused(), expect.join("\n"));
}

#[test]
fn wrong_values_are_refused_with_an_example() {
    let place = Place::new()
        .file(
            "isobar.toml",
            "[postgres]\nport = \"5432\"\nhost = \"\"\n\
             [kafka]\nbootstrap_servers = \"localhost:9092\"\n\
             [openweather]\ncities = []\ninterval = 600\nunits = \"metrics\"\n\
             [run]\nonly_today = 1\n[land]\nbytes_max = \"256\"\nrows_max = -1\n\
             [lake]\nurl.host = \"x\"\n",
        )
        .file(".env", "CITY=Paris;;Lyon\nHBASE_ENABLED=maybe\n")
        .variable("ISOBAR__TIME__ZONE", "Europe/Pariss")
        .variable("BOOTSTRAP_SERVERS", "kafka")
        .set("serve.http_listen", "localhost:9464");
    let expect = [
        "flag --set: serve.http_listen = \"localhost:9464\": expected an IP address with a port, such as \
         127.0.0.1:9464",
        "variable ISOBAR__TIME__ZONE: time.zone = \"Europe/Pariss\": expected the name of an IANA time zone, such as \
         Europe/Paris; did you mean \"Europe/Paris\"?",
        "variable BOOTSTRAP_SERVERS: kafka.bootstrap_servers = \"kafka\": expected one or more host:port separated by \
         `,`, such as localhost:9092",
        ".env: CITY: openweather.cities = \"Paris;;Lyon\": expected one or more names separated by `;`, such as Paris",
        ".env: HBASE_ENABLED: hbase.enabled = \"maybe\": expected true or false, such as false",
        "isobar.toml:2: postgres.port = \"5432\": expected a whole number from 1 to 65535, such as 5432",
        "isobar.toml:3: postgres.host = \"\": expected a string that is not blank, such as \"localhost\"",
        "isobar.toml:8: openweather.interval = 600: expected a duration from 1ms to 365days, such as \"10m\"",
        "isobar.toml:9: openweather.units = \"metrics\": expected one of standard, metric, imperial, such as \
         \"metric\"; did you mean \"metric\"?",
        "isobar.toml:11: run.only_today = 1: expected true or false, such as true",
        "isobar.toml:13: land.bytes_max = \"256\": expected a size above zero with its unit (B, KiB, MiB, GiB, kB, \
         MB, GB), such as \"256MiB\"",
        "isobar.toml:14: land.rows_max = -1: expected a whole number from 1 to 4294967295, such as 500000",
    ];
    let refused = place.refused();
    let refused: Vec<&str> = refused.lines().collect();
    assert_eq!(refused[..expect.len()], expect);
    assert!(
        refused[expect.len()].starts_with("isobar.toml:16: lake.url = "),
        "{refused:?}"
    );
    let place = Place::new().file("isobar.toml", "[openweather]\ncities = []\n");
    assert_eq!(
        place.refused(),
        "isobar.toml:2: openweather.cities = []: expected a list of one or more names, such as [\"Paris\"]"
    );
}

#[test]
fn what_is_not_toml_is_refused_by_line_without_its_text() {
    let place = Place::new().file(
        "isobar.toml",
        "[postgres]\npassword = \"hunter2\nport = 1\n",
    );
    let refused = place.refused();
    assert!(refused.starts_with("isobar.toml:2:"), "{refused}");
    assert!(refused.contains("not TOML"), "{refused}");
    assert!(
        !format!("{refused} {:?}", load(&place.sources)).contains("hunter2"),
        "{refused}"
    );
    let place = Place::new().file("isobar.toml", "[log]\n[log]\n");
    assert!(
        place.refused().starts_with("isobar.toml:2:"),
        "{}",
        place.refused()
    );
}

#[test]
fn a_broken_line_of_dotenv_counts_when_the_variable_is_ours() {
    let place = Place::new().file(
        ".env",
        "FOREIGN=${X:-y}\nCITY=${X}\nPOSTGRES_PASSWORD='hunter2\noops\n",
    );
    let expect = [
        ".env:2: `${…}` is not substituted here; write the value, or put it in single quotes to mean it literally",
        ".env:3: the quote that begins here is not closed",
        ".env:4: expected NAME=value",
    ];
    assert_eq!(place.refused(), expect.join("\n"));
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let file = |name: &str, value: &str| {
        Place::new()
            .file("secret", "hunter2\r\n")
            .variable(name, value)
    };
    let password = |place: &Place| {
        place
            .load()
            .config
            .postgres
            .password
            .unwrap()
            .expose()
            .to_owned()
    };
    for name in ["POSTGRES_PASSWORD_FILE", "ISOBAR__POSTGRES__PASSWORD_FILE"] {
        let place = file(name, "secret");
        assert_eq!(password(&place), "hunter2");
        check_shown(
            &place,
            "postgres.password",
            "\"***\"",
            &format!("variable {name}"),
        );
    }
    let place =
        file("POSTGRES_PASSWORD_FILE", "secret").variable("ISOBAR__POSTGRES__PASSWORD", " own ");
    assert_eq!(password(&place), " own ");
    let place = Place::new()
        .file("secret", "hunter2")
        .file(".env", "POSTGRES_PASSWORD_FILE=secret");
    assert_eq!(password(&place), "hunter2");
    let place = Place::new().file("isobar.toml", "[openweather]\napi_key = \"hunter2\"");
    assert_eq!(
        place.load().config.openweather.api_key.unwrap().expose(),
        "hunter2"
    );
}

#[test]
fn a_secret_file_that_gives_no_secret_is_an_error() {
    let place = Place::new().variable("OPENWEATHER_API_KEY_FILE", "/run/secrets/missing");
    assert_eq!(
        place.refused(),
        "variable OPENWEATHER_API_KEY_FILE: could not read the file \"/run/secrets/missing\" that holds \
         openweather.api_key: No such file or directory (os error 2)"
    );
    let place = Place::new()
        .file("blank", "\n")
        .variable("POSTGRES_PASSWORD_FILE", "blank");
    assert_eq!(
        place.refused(),
        "variable POSTGRES_PASSWORD_FILE: the file \"blank\" that should hold postgres.password is blank"
    );
    let place = Place::new()
        .variable("POSTGRES_PASSWORD", "hunter2")
        .variable("POSTGRES_PASSWORD_FILE", "blank");
    assert_eq!(
        place.refused(),
        "variable POSTGRES_PASSWORD and variable POSTGRES_PASSWORD_FILE both set postgres.password; keep one of them"
    );
}

#[test]
fn no_output_shows_a_secret() {
    let place = Place::new()
        .file("isobar.toml", "[openweather]\napi_key = \"hunter2\"")
        .variable("POSTGRES_PASSWORD", "hunter2");
    let loaded = place.load();
    assert!(!format!("{loaded:?} {loaded:#?}").contains("hunter2"));
    let place = Place::new().file(
        "isobar.toml",
        "[postgres]\npassword = 424242\n[openweather]\napi_key = [\"hunter2\"]",
    );
    let error = load(&place.sources).unwrap_err();
    let printed = format!("{error} {error:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("424242"),
        "{printed}"
    );
    assert!(
        printed.contains("isobar.toml:2: postgres.password = ***: expected a string"),
        "{printed}"
    );
}

const KAFKA_USER: &str =
    "sasl_mechanism = \"plain\"\nsasl_username = \"u\"\nsasl_password = \"hunter2\"\n";

/// Section [kafka], and files that it can name.
fn kafka(text: &str) -> Place {
    Place::new()
        .file("isobar.toml", &format!("[kafka]\n{text}"))
        .file("ca.pem", "it is:\n-----BEGIN CERTIFICATE-----\n")
        .file("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
        .file("store.jks", "\u{fe}\u{ed}")
}

#[test]
fn the_security_of_kafka_is_what_its_protocol_says() {
    let security = |place: Place| place.load().config.kafka.security;
    let plain = security(kafka(""));
    assert!(plain.tls.is_none() && plain.user.is_none());
    let place = kafka(&format!(
        "security_protocol = \"sasl_ssl\"\nroot_certificate = \"ca.pem\"\n{KAFKA_USER}"
    ));
    let root = place.directory.path().join("ca.pem");
    check_shown(&place, "kafka.sasl_password", "\"***\"", "isobar.toml:6");
    let both = security(place);
    let (tls, user_of_both) = (both.tls.unwrap(), both.user.unwrap());
    assert_eq!(tls.root_certificate, Some(root));
    assert!(tls.client.is_none());
    assert_eq!(user_of_both.mechanism, SaslMechanism::Plain);
    assert_eq!(user_of_both.password.expose(), "hunter2");
    let own =
        "client_certificate = \"ca.pem\"\nclient_key = \"key.pem\"\nclient_key_password = \"p\"\n";
    let mutual = security(kafka(&format!("security_protocol = \"ssl\"\n{own}")));
    let own = mutual.tls.unwrap().client.unwrap();
    assert!(own.key_password.is_some() && mutual.user.is_none());

    let check =
        |text: &str, expected: &[&str]| assert_eq!(kafka(text).refused(), expected.join("\n"));
    let missing = |key: &str, variable: &str| {
        format!(
            "isobar.toml:2: kafka.security_protocol = \"sasl_plaintext\" needs kafka.{key}; set it (ISOBAR__KAFKA__{variable})"
        )
    };
    check(
        "security_protocol = \"sasl_plaintext\"",
        &[
            &missing("sasl_mechanism", "SASL_MECHANISM"),
            &missing("sasl_username", "SASL_USERNAME"),
            &missing(
                "sasl_password",
                "SASL_PASSWORD or ISOBAR__KAFKA__SASL_PASSWORD_FILE",
            ),
        ],
    );
    check(
        "sasl_password = \"hunter2\"",
        &[
            "isobar.toml:2: kafka.sasl_password is set, but not used with kafka.security_protocol = \"plaintext\" (default); \
             set kafka.security_protocol (ISOBAR__KAFKA__SECURITY_PROTOCOL) to \"sasl_ssl\" or \"sasl_plaintext\", or take \
             kafka.sasl_password away",
        ],
    );
    check(
        &format!("security_protocol = \"sasl_plaintext\"\n{KAFKA_USER}client_key = \"key.pem\""),
        &[
            "isobar.toml:6: kafka.client_key is set, but not used with kafka.security_protocol = \"sasl_plaintext\" \
             (isobar.toml:2); set kafka.security_protocol (ISOBAR__KAFKA__SECURITY_PROTOCOL) to \"sasl_ssl\" or \"ssl\", or \
             take kafka.client_key away",
        ],
    );
    check(
        "security_protocol = \"ssl\"\nclient_certificate = \"ca.pem\"\nclient_key_password = \"p\"",
        &[
            "isobar.toml:3: kafka.client_certificate = \"ca.pem\" needs kafka.client_key; set it (ISOBAR__KAFKA__CLIENT_KEY)",
            "isobar.toml:4: kafka.client_key_password = \"***\" needs kafka.client_key; set it (ISOBAR__KAFKA__CLIENT_KEY)",
        ],
    );
    check(
        "security_protocol = \"ssl\"\nroot_certificate = \"store.jks\"\nclient_certificate = \"none.pem\"\nclient_key = \"key.pem\"",
        &[
            "isobar.toml:3: the file \"store.jks\" that kafka.root_certificate names holds no certificate in PEM, which is text \
             with a line `-----BEGIN …-----`; other formats are converted by `openssl`",
            "isobar.toml:4: could not read the file \"none.pem\" that kafka.client_certificate names: No such file or directory \
             (os error 2)",
        ],
    );
}

#[test]
fn hdfs_url_gives_the_lake_its_name_node() {
    let place = Place::new().variable("HDFS_URL", "http://nn:9870");
    check_shown(
        &place,
        "lake.url",
        "\"hdfs://nn:8020/user/hdfs/isobar\"",
        "implied by hdfs.url, variable HDFS_URL",
    );
    check_shown(
        &place,
        "export.base_path",
        "\"hdfs://nn:8020/user/hdfs/weather\"",
        "default",
    );
    let place = place.file("isobar.toml", "lake.url = \"/data/lake\"");
    check_shown(&place, "lake.url", "\"file:///data/lake\"", "isobar.toml:1");
    check_shown(
        &place,
        "hdfs.url",
        "\"http://nn:9870\"",
        "variable HDFS_URL",
    );
}

#[test]
fn places_that_endanger_each_other_are_refused() {
    let place = Place::new().variable("HDFS_BASE_PATH", "/user/hdfs/isobar/../isobar/x/");
    assert_eq!(
        place.refused(),
        "lake.url = \"hdfs://namenode:8020/user/hdfs/isobar\" (default) and export.base_path = \
         \"hdfs://namenode:8020/user/hdfs/isobar/x\" (variable HDFS_BASE_PATH) overlap, the second inside the first: \
         tables and export files need directories of their own; set one of the two to a directory outside the other"
    );
    let place = Place::new()
        .set("lake.url", "data")
        .set("export.base_path", "data/");
    assert!(
        place
            .refused()
            .contains("are one directory: tables and export files"),
        "{}",
        place.refused()
    );
    let root = "the root is not a place for data; name a directory below it";
    let place = Place::new().variable("HDFS_BASE_PATH", "/");
    assert_eq!(
        place.refused(),
        format!("variable HDFS_BASE_PATH: export.base_path = \"/\": {root}")
    );
    let place = Place::new().file("isobar.toml", "[lake]\nurl = \"hdfs://namenode:8020//\"");
    assert_eq!(
        place.refused(),
        format!("isobar.toml:2: lake.url = \"hdfs://namenode:8020//\": {root}")
    );
}

#[test]
fn what_is_shown_can_be_read_again() {
    let place = Place::new()
        .variable("CITY", "L'Haÿ-les-Roses;\"Quoted\\\"")
        .variable("HDFS_URL", "http://nn:9870")
        .set("land.interval", "90s");
    let shown = place.load().settings;
    let lines = shown
        .iter()
        .filter_map(|setting| Some(format!("{} = {}\n", setting.key, setting.value.as_ref()?)));
    let again = Place::new()
        .file("isobar.toml", &lines.collect::<String>())
        .load()
        .settings;
    for (shown, again) in shown.iter().zip(&again) {
        assert_eq!(shown.value, again.value, "{}", shown.key);
    }
}
