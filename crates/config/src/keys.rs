//! The table of keys: every key that exists, once.
//!
//! Parsing, variables, suggestions, `config show` and the example file all follow this table. A new
//! key is one row here and one field in `checked`.

use settings::{SaslMechanism, SecurityProtocol};

use super::choices::{Compression, LogFormat, SslMode, Units};
use super::value::{Expected, Kind};

/// What a key is when no layer sets it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fallback {
    /// A value, written as a variable would hold it.
    Value(&'static str),
    /// Nothing; the text is an example of what could be set.
    Unset(&'static str),
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// `section.key`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) fallback: Fallback,
    /// What it is for, its unit included; stands above the key in the example file.
    pub(crate) doc: &'static str,
    /// The name that the legacy pipeline gave to the variable.
    pub(crate) older: Option<&'static str>,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, fallback: Fallback, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            fallback,
            doc,
            older: None,
        }
    }

    const fn older(mut self, variable: &'static str) -> Self {
        self.older = Some(variable);
        self
    }

    /// The part before the point.
    pub(crate) fn section(&self) -> &'static str {
        self.parts().0
    }

    /// The part behind the point.
    pub(crate) fn leaf(&self) -> &'static str {
        self.parts().1
    }

    fn parts(&self) -> (&'static str, &'static str) {
        self.name
            .split_once('.')
            .expect("every name in the table has a point")
    }

    /// `ISOBAR__SECTION__KEY`.
    pub(crate) fn variable(&self) -> String {
        let (section, leaf) = self.parts();
        format!("{VARIABLE_PREFIX}{section}__{leaf}").to_ascii_uppercase()
    }

    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    /// The shape of a good value, for errors.
    pub(crate) fn expected(&self) -> Expected {
        let (Fallback::Value(example) | Fallback::Unset(example)) = self.fallback;
        Expected {
            kind: self.kind,
            example,
        }
    }

    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    pub(crate) fn of_section(section: &str) -> impl Iterator<Item = &'static Self> {
        KEYS.iter().filter(move |key| key.section() == section)
    }
}

/// What every variable of ours begins with.
pub(crate) const VARIABLE_PREFIX: &str = "ISOBAR__";

/// The sections in the order of the example file, each with what it is about.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    (
        "time",
        "Time: instants are stored as UTC, days are those of a place.",
    ),
    ("lake", "The lake: Delta tables at <url>/<table>."),
    ("hdfs", "HDFS: how the servers are reached."),
    (
        "export",
        "Export files and aggregates.jsonl, as JSON Lines in dt=YYYY-MM-DD directories.",
    ),
    ("openweather", "The OpenWeather API that `produce` polls."),
    (
        "kafka",
        "Kafka: where messages are produced to and landed from.",
    ),
    (
        "postgres",
        "PostgreSQL: the table `weather` that `consume` fills; `export` and `land` read it.",
    ),
    ("hbase", "HBase over Thrift: a second place for aggregates."),
    ("queries", "The SQL files of jobs and tables."),
    (
        "query",
        "What the statements of one process share: memory, threads and the disk that they spill to.",
    ),
    ("sql", "The shell."),
    ("run", "Aggregation jobs."),
    ("land", "Landing messages as tables."),
    ("produce", "The service that polls OpenWeather."),
    ("consume", "The service that copies messages to PostgreSQL."),
    (
        "schedule",
        "The service that runs jobs when their input has changed or their time has come.",
    ),
    ("serve", "The service that answers queries."),
    ("log", "Logs on standard error."),
];

use Fallback::{Unset, Value};

const PORT: Kind = Kind::Number {
    min: 1,
    max: 65_535,
};
const COUNT: Kind = Kind::Number {
    min: 1,
    max: u32::MAX as u64,
};

/// Every key, in the order of the example file.
pub(crate) const KEYS: &[Key] = &[
    Key::new(
        "time.zone",
        Kind::Zone,
        Value("Europe/Paris"),
        "IANA zone whose calendar day is the `dt` of a row.",
    ),
    Key::new(
        "lake.url",
        Kind::Text,
        Value("hdfs://namenode:8020/user/hdfs/isobar"),
        "hdfs:// or file:// address, or a local path (relative to the working directory).\n\
         Unless it is set, the NameNode's host is taken from hdfs.url.",
    ),
    Key::new(
        "hdfs.url",
        Kind::Server(&["http", "https", "hdfs"]),
        Unset("http://namenode:9870"),
        "WebHDFS address of the NameNode, asked whether HDFS is ready.",
    )
    .older("HDFS_URL"),
    Key::new(
        "hdfs.user",
        Kind::Text,
        Unset("hdfs"),
        "User to act as. Unless it is set, HADOOP_USER_NAME or the system's user.",
    )
    .older("HDFS_USER"),
    Key::new(
        "hdfs.timeout",
        Kind::Duration,
        Value("10s"),
        "Longest time that one call may take before it fails.",
    ),
    Key::new(
        "export.base_path",
        Kind::Text,
        Value("/user/hdfs/weather"),
        "A path on the lake's store, or an hdfs:// or file:// address. Never inside the lake nor around it.",
    )
    .older("HDFS_BASE_PATH"),
    Key::new("export.interval", Kind::Duration, Value("10m"), "Time from one export to the next."),
    Key::new("export.rows_max", COUNT, Value("100000"), "Most rows that one export takes at once; of more it makes several."),
    Key::new("export.bytes_max", Kind::Size, Value("64MiB"), "Most bytes of messages that one export takes at once."),
    Key::new(
        "export.shutdown_deadline",
        Kind::Duration,
        Value("30s"),
        "Longest time that what is in hand is given to reach its files when the service is stopped.",
    ),
    http_listen("export.http_listen", "127.0.0.1:9468"),
    Key::new(
        "openweather.api_key",
        Kind::Secret,
        Unset("0123456789abcdef0123456789abcdef"),
        "Key of the API; better in the variable, or in a file named by OPENWEATHER_API_KEY_FILE.",
    )
    .older("OPENWEATHER_API_KEY"),
    Key::new(
        "openweather.cities",
        Kind::Names,
        Value("Paris"),
        "Cities to poll: `name`, `name,country`, an id or `latitude,longitude`; the variable separates them by `;`.",
    )
    .older("CITY"),
    Key::new(
        "openweather.base_url",
        Kind::Server(&["https", "http"]),
        Value("https://api.openweathermap.org"),
        "Address of the API, without a path.",
    ),
    Key::new("openweather.interval", Kind::Duration, Value("10m"), "Time from one poll to the next; polls are made at its multiples, at :00, :10 and so on."),
    Key::new(
        "openweather.units",
        Kind::Choice(Units::NAMES),
        Value("metric"),
        "Units of the messages: standard (K, m/s), metric (°C, m/s) or imperial (°F, mph).\n\
         The tables of this repository expect metric.",
    ),
    Key::new("openweather.language", Kind::Text, Value("fr"), "Language of descriptions in forecasts."),
    Key::new(
        "openweather.calls_per_minute",
        COUNT,
        Value("60"),
        "Most calls in a minute; 60 is the limit of the free plan.",
    ),
    Key::new(
        "kafka.bootstrap_servers",
        Kind::Servers,
        Value("localhost:9092"),
        "Brokers to begin with, as host:port; the variable separates them by `,`.",
    )
    .older("BOOTSTRAP_SERVERS"),
    Key::new("kafka.topic", Kind::Text, Value("weather-api"), "Topic of the messages; created if absent.")
        .older("TOPIC_NAME"),
    Key::new("kafka.group_id", Kind::Text, Value("isobar"), "Consumer group. What `land` and `consume` commit under it is for display:\n\
         their positions are kept with the data.")
        .older("GROUP_ID"),
    Key::new(
        "kafka.security_protocol",
        Kind::Choice(SecurityProtocol::NAMES),
        Value("plaintext"),
        "How brokers are spoken to: plaintext, ssl (TLS), sasl_ssl (TLS, and a user with a password) or sasl_plaintext\n\
         (a user without TLS, whose password others may read with the mechanism plain).",
    ),
    Key::new(
        "kafka.root_certificate",
        Kind::Text,
        Unset("/etc/isobar/kafka-ca.pem"),
        "Certificates in PEM that sign the brokers', for ssl and sasl_ssl. Unless it is set, the system's.",
    ),
    Key::new(
        "kafka.client_certificate",
        Kind::Text,
        Unset("/etc/isobar/kafka-client.pem"),
        "Certificate in PEM for brokers that want one of their clients (mutual TLS), followed by those that sign it.",
    ),
    Key::new(
        "kafka.client_key",
        Kind::Text,
        Unset("/etc/isobar/kafka-client-key.pem"),
        "Private key in PEM of that certificate.",
    ),
    Key::new(
        "kafka.client_key_password",
        Kind::Secret,
        Unset("a long password"),
        "Password of that key, if it has one; better in the variable, or in a file named by\n\
         ISOBAR__KAFKA__CLIENT_KEY_PASSWORD_FILE.",
    ),
    Key::new(
        "kafka.sasl_mechanism",
        Kind::Choice(SaslMechanism::NAMES),
        Unset("scram-sha-512"),
        "How the user of sasl_ssl and sasl_plaintext proves to be one: plain, scram-sha-256 or scram-sha-512.",
    ),
    Key::new("kafka.sasl_username", Kind::Text, Unset("weather"), "Name of that user."),
    Key::new(
        "kafka.sasl_password",
        Kind::Secret,
        Unset("a long password"),
        "Password of that user; better in the variable, or in a file named by ISOBAR__KAFKA__SASL_PASSWORD_FILE.",
    ),
    Key::new("postgres.host", Kind::Text, Value("localhost"), "Host of the server.").older("POSTGRES_HOST"),
    Key::new("postgres.port", PORT, Value("5432"), "Port of the server.").older("POSTGRES_PORT"),
    Key::new("postgres.database", Kind::Text, Value("weather"), "Database that holds the table.")
        .older("POSTGRES_DB"),
    Key::new("postgres.user", Kind::Text, Value("postgres"), "User to connect as.").older("POSTGRES_USER"),
    Key::new(
        "postgres.password",
        Kind::Secret,
        Unset("a long password"),
        "Password; better in the variable, or in a file named by POSTGRES_PASSWORD_FILE.",
    )
    .older("POSTGRES_PASSWORD"),
    Key::new(
        "postgres.sslmode",
        Kind::Choice(SslMode::NAMES),
        Value("prefer"),
        "disable, prefer or require TLS; only verify-full makes sure who the server is.",
    ),
    Key::new(
        "postgres.root_certificate",
        Kind::Text,
        Unset("/etc/isobar/postgres-ca.pem"),
        "Certificates in PEM that sign the server's, for verify-full. Unless it is set, the system's.",
    ),
    Key::new(
        "postgres.timeout",
        Kind::Duration,
        Value("1m"),
        "Longest time that one transaction may take before it is given up.",
    ),
    Key::new("hbase.enabled", Kind::Flag, Value("false"), "Write aggregates to HBase too.")
        .older("HBASE_ENABLED"),
    Key::new("hbase.host", Kind::Text, Value("localhost"), "Host of the Thrift server.").older("HBASE_HOST"),
    Key::new("hbase.port", PORT, Value("9090"), "Port of the Thrift server.").older("HBASE_PORT"),
    Key::new(
        "hbase.table",
        Kind::Text,
        Value("weather:aggregates"),
        "Table, with its namespace; created if absent, its namespace is not.",
    ),
    Key::new(
        "queries.path",
        Kind::Text,
        Value("queries"),
        "Directory of the SQL files, relative to the working directory.",
    ),
    Key::new(
        "query.memory",
        Kind::Size,
        Unset("4GiB"),
        "Memory that statements hold together before they spill to disk or are refused. Unless it is set, 40 % of the\n\
         machine's, or of the control group's where that is less.",
    ),
    Key::new(
        "query.resident_max",
        Kind::Size,
        Unset("6GiB"),
        "Above so much resident memory of the process new statements are refused, and the one that holds most is ended.\n\
         Unless it is set, a quarter more than query.memory and 512 MiB, at most 80 % of the machine's memory.",
    ),
    Key::new(
        "query.column_cache",
        Kind::SizeOrZero,
        Unset("512MiB"),
        "Memory for columns of data files as decoded, beside query.memory: a column that a second statement reads stays there\n\
         for the next. Statements that need the memory get it. 0B keeps none; unless it is set, an eighth of query.memory.",
    ),
    Key::new(
        "query.threads",
        Kind::Number { min: 1, max: 1024 },
        Unset("8"),
        "Threads that one statement computes on, all large statements of `serve` together, and all small ones. Unless it\n\
         is set, one a core.",
    ),
    Key::new(
        "query.spill_path",
        Kind::Text,
        Unset("/var/lib/isobar/spill"),
        "Directory on a disk for what does not fit into query.memory. Unless it is set, isobar/spill below\n\
         $XDG_STATE_HOME or ~/.local/state.",
    ),
    Key::new(
        "query.spill_max",
        Kind::Size,
        Value("100GiB"),
        "Most bytes that the statements of one process spill; what needs more is refused.",
    ),
    Key::new(
        "query.max_join_pairs",
        Kind::Number { min: 1, max: u64::MAX },
        Unset("100000000000"),
        "Most pairs of rows that one join may compare, by estimate. Unless it is set, 10^11 in `serve` and `sql`, and any\n\
         number in `run`.",
    ),
    Key::new(
        "sql.timeout",
        Kind::Duration,
        Unset("10m"),
        "Longest time of one statement of `isobar sql`. Unless it is set, there is no limit.",
    ),
    Key::new(
        "run.only_today",
        Kind::Flag,
        Value("true"),
        "What `run` without --dt, --from or --all computes: today's partition, or every one.",
    )
    .older("MR_PROCESS_ONLY_TODAY"),
    Key::new(
        "run.timeout",
        Kind::Duration,
        Unset("1h"),
        "Longest time of one run, of all its partitions together. Unless it is set, there is no limit.",
    ),
    Key::new("land.rows_max", COUNT, Value("500000"), "Rows that all topics of a process hold together before those with their share of them are committed."),
    Key::new("land.bytes_max", Kind::Size, Value("256MiB"), "Bytes of messages that all topics of a process hold together before those with their share are committed."),
    Key::new(
        "land.interval",
        Kind::Duration,
        Value("1m"),
        "Longest time that a message waits for its commit, so that a quiet topic lands too.",
    ),
    Key::new(
        "land.shutdown_deadline",
        Kind::Duration,
        Value("30s"),
        "Longest time that what is in hand is given to reach its commit when the service is stopped.",
    ),
    http_listen("land.http_listen", "127.0.0.1:9467"),
    Key::new(
        "produce.spool_path",
        Kind::Text,
        Unset("/var/lib/isobar/spool"),
        "Directory of the messages that wait for Kafka. Unless it is set, isobar/spool below $XDG_STATE_HOME or\n\
         ~/.local/state.",
    ),
    Key::new(
        "produce.spool_bytes_max",
        Kind::Size,
        Value("1GiB"),
        "When so much waits there, nothing is polled until Kafka takes messages again. 40 cities fill 110 MB a day.",
    ),
    Key::new(
        "produce.compression",
        Kind::Choice(Compression::NAMES),
        Value("gzip"),
        "How messages are compressed on their way and in Kafka: gzip, which every consumer reads, zstd, lz4 or none.",
    ),
    Key::new(
        "produce.topic_partitions",
        Kind::Number { min: 1, max: 100_000 },
        Unset("3"),
        "Partitions of the topic when it is created. Unless it is set, the brokers' default, as with the next two.",
    ),
    Key::new(
        "produce.topic_replication",
        Kind::Number { min: 1, max: 32_767 },
        Unset("3"),
        "Copies of each of its partitions.",
    ),
    Key::new(
        "produce.topic_retention",
        Kind::Duration,
        Unset("30days"),
        "How long it keeps messages.",
    ),
    Key::new(
        "produce.shutdown_deadline",
        Kind::Duration,
        Value("30s"),
        "Longest time that messages in hand are given to reach Kafka when the service is stopped.",
    ),
    http_listen("produce.http_listen", "127.0.0.1:9465"),
    Key::new("consume.rows_max", COUNT, Value("10000"), "Most messages in one transaction."),
    Key::new("consume.bytes_max", Kind::Size, Value("16MiB"), "Most bytes of messages in one transaction."),
    Key::new(
        "consume.interval",
        Kind::Duration,
        Value("1s"),
        "Longest time that a message waits for its transaction.",
    ),
    Key::new(
        "consume.connections",
        Kind::Number { min: 1, max: 100 },
        Value("4"),
        "Most connections to PostgreSQL that write side by side; each topic partition is written by one.",
    ),
    Key::new(
        "consume.shutdown_deadline",
        Kind::Duration,
        Value("30s"),
        "Longest time that what is in hand is given to reach its transaction when the service is stopped.",
    ),
    http_listen("consume.http_listen", "127.0.0.1:9466"),
    http_listen("schedule.http_listen", "127.0.0.1:9469"),
    Key::new(
        "serve.flight_listen",
        Kind::Address,
        Value("127.0.0.1:32010"),
        "Address that Flight SQL listens on.",
    ),
    http_listen("serve.http_listen", "127.0.0.1:9464"),
    Key::new(
        "serve.query_timeout",
        Kind::Duration,
        Value("10m"),
        "Longest time of one statement, until the client has its last row.",
    ),
    Key::new(
        "serve.connections_max",
        COUNT,
        Value("256"),
        "Most connections of Flight SQL at once; what one more asks is refused.",
    ),
    Key::new(
        "serve.queries_max",
        COUNT,
        Value("64"),
        "Most statements that run at once; one more is refused.",
    ),
    Key::new(
        "serve.prepared_max",
        COUNT,
        Value("1000"),
        "Most prepared statements; for one more, the one unused for the longest time is forgotten.",
    ),
    Key::new(
        "serve.shutdown_deadline",
        Kind::Duration,
        Value("30s"),
        "Longest time that running statements are given to end when the service is stopped.",
    ),
    Key::new(
        "log.level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        Value("info"),
        "Least important lines to print: error, warn, info, debug or trace.",
    ),
    Key::new(
        "log.format",
        Kind::Choice(LogFormat::NAMES),
        Value("auto"),
        "text, json, or auto: text on a terminal and JSON lines elsewhere.",
    ),
];

const fn http_listen(name: &'static str, default: &'static str) -> Key {
    Key::new(
        name,
        Kind::Address,
        Value(default),
        "Address of health, readiness and metrics over HTTP.",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_section_has_keys() {
        let names: BTreeSet<String> = KEYS
            .iter()
            .flat_map(|key| [Some(key.variable()), key.older.map(str::to_owned)])
            .flatten()
            .collect();
        let older = KEYS.iter().filter(|key| key.older.is_some()).count();
        assert_eq!(names.len(), KEYS.len() + older);
        let used: BTreeSet<&str> = KEYS.iter().map(Key::section).collect();
        let described: BTreeSet<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
        assert_eq!(used, described);
        assert_eq!(
            Key::named("hdfs.url").unwrap().variable(),
            "ISOBAR__HDFS__URL"
        );
    }

    #[test]
    fn every_default_and_example_is_a_good_value() {
        for key in KEYS {
            let expected = key.expected();
            assert!(key.kind.parse(expected.example).is_ok(), "{}", key.name);
        }
    }
}
