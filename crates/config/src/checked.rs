//! The checked configuration, as commands pass it to libraries.
//!
//! Every field holds a value that passed its key's check; `Option` is left only where a key without
//! a value means something. There is no `Default`: defaults stand in the table of keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use settings::{ByteSize, SaslMechanism, Secret, SecurityProtocol};
use tracing::Level;
use url::Url;

use super::choices::{Compression, LogFormat, SslMode, Units};
use super::kafka::Kafka;
use super::value::Value;
use super::values::Values;

/// The whole configuration, a field for each section.
#[derive(Debug, Clone)]
pub struct Config {
    pub time: Time,
    pub lake: Lake,
    pub hdfs: Hdfs,
    pub export: Export,
    pub openweather: OpenWeather,
    pub kafka: Kafka,
    pub postgres: Postgres,
    pub hbase: HBase,
    pub queries: Queries,
    pub query: Query,
    pub sql: Sql,
    pub run: Run,
    pub land: Land,
    pub produce: Produce,
    pub consume: Consume,
    pub schedule: Schedule,
    pub serve: Serve,
    pub log: Log,
}

#[derive(Debug, Clone)]
pub struct Time {
    /// The zone whose calendar day is the `dt` of a row.
    pub zone: Tz,
}

#[derive(Debug, Clone)]
pub struct Lake {
    /// `hdfs://` or `file://`, without a trailing slash; tables lie directly below.
    pub url: Url,
}

#[derive(Debug, Clone)]
pub struct Hdfs {
    /// `http(s)://` for WebHDFS or `hdfs://`; without it nothing waits for HDFS to be ready.
    pub url: Option<Url>,
    /// Without it the client library decides, by `HADOOP_USER_NAME` or the system's user.
    pub user: Option<String>,
    /// The limit of one call.
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct Export {
    /// `hdfs://` or `file://`, without a trailing slash, never inside the lake nor around it.
    pub base_path: Url,
    pub interval: Duration,
    /// One export takes no more at once.
    pub rows_max: usize,
    pub bytes_max: ByteSize,
    /// From the signal to the end of the process.
    pub shutdown_deadline: Duration,
    pub http_listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct OpenWeather {
    /// Only a real server asks for it.
    pub api_key: Option<Secret>,
    /// At least one, as written. The poller parses them.
    pub cities: Vec<String>,
    /// Scheme, host and port only, so that `Url::join` is safe.
    pub base_url: Url,
    pub interval: Duration,
    pub units: Units,
    pub language: String,
    pub calls_per_minute: u32,
}

#[derive(Debug, Clone)]
pub struct Postgres {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    /// A server may trust its clients without one.
    pub password: Option<Secret>,
    pub sslmode: SslMode,
    /// Absolute; for `verify-full`. Without it the system's certificates count.
    pub root_certificate: Option<PathBuf>,
    /// The limit of one transaction.
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct HBase {
    pub enabled: bool,
    pub host: String,
    pub port: u16,
    /// With its namespace, as `namespace:table`.
    pub table: String,
}

#[derive(Debug, Clone)]
pub struct Queries {
    /// Absolute.
    pub path: PathBuf,
}

/// What the statements of a process share.
#[derive(Debug, Clone)]
pub struct Query {
    /// These four are sized from the machine unless they are set.
    pub memory: Option<ByteSize>,
    pub resident_max: Option<ByteSize>,
    /// Zero keeps no columns.
    pub column_cache: Option<ByteSize>,
    pub threads: Option<usize>,
    /// Absolute. Without it there is one below the user's directory of state.
    pub spill_path: Option<PathBuf>,
    pub spill_max: ByteSize,
    /// Without it, runs of queries have no limit, and others have that of the engine.
    pub max_join_pairs: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Sql {
    /// From planning to the last row; without it there is no limit.
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Run {
    /// What a run without a range computes: today's partition, or every one.
    pub only_today: bool,
    /// Of all partitions together; without it there is no limit.
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Land {
    /// A commit is due when one of these three is reached.
    pub rows_max: usize,
    pub bytes_max: ByteSize,
    pub interval: Duration,
    /// From the signal to the end of the process.
    pub shutdown_deadline: Duration,
    pub http_listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct Produce {
    /// Without it there is one below the user's directory of state.
    pub spool_path: Option<PathBuf>,
    pub spool_bytes_max: ByteSize,
    pub compression: Compression,
    /// Of a topic that is created, these three; without them the brokers decide.
    pub topic_partitions: Option<i32>,
    pub topic_replication: Option<i32>,
    pub topic_retention: Option<Duration>,
    /// From the signal to the end of the process.
    pub shutdown_deadline: Duration,
    pub http_listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct Consume {
    /// A transaction is due when one of these three is reached.
    pub rows_max: usize,
    pub bytes_max: ByteSize,
    pub interval: Duration,
    /// At least one.
    pub connections: usize,
    /// From the signal to the end of the process.
    pub shutdown_deadline: Duration,
    pub http_listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct Schedule {
    pub http_listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct Serve {
    pub flight_listen: SocketAddr,
    pub http_listen: SocketAddr,
    /// From the request for a result to its last row.
    pub query_timeout: Duration,
    pub connections_max: usize,
    pub queries_max: usize,
    pub prepared_max: usize,
    /// From the signal to the end of the process.
    pub shutdown_deadline: Duration,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub level: Level,
    pub format: LogFormat,
}

impl Config {
    /// Builds the configuration from values that were all checked.
    pub(crate) fn new(mut values: Values, directory: &Path) -> Self {
        let values = &mut values;
        let config = Self {
            time: Time {
                zone: values.take("time.zone"),
            },
            lake: Lake {
                url: values.take("lake.url"),
            },
            hdfs: Hdfs::new(values),
            export: Export::new(values),
            openweather: OpenWeather::new(values),
            kafka: Kafka::new(values, directory),
            postgres: Postgres::new(values, directory),
            hbase: HBase::new(values),
            queries: Queries {
                path: directory.join(values.take::<String>("queries.path")),
            },
            query: Query::new(values, directory),
            sql: Sql {
                timeout: values.optional("sql.timeout"),
            },
            run: Run {
                only_today: values.take("run.only_today"),
                timeout: values.optional("run.timeout"),
            },
            land: Land::new(values),
            produce: Produce::new(values, directory),
            consume: Consume::new(values),
            schedule: Schedule {
                http_listen: values.take("schedule.http_listen"),
            },
            serve: Serve::new(values),
            log: Log {
                level: values.take("log.level"),
                format: values.take("log.format"),
            },
        };
        debug_assert!(values.is_empty(), "keys without a field: {values:?}");
        config
    }
}

impl Hdfs {
    fn new(values: &mut Values) -> Self {
        Self {
            url: values.optional("hdfs.url"),
            user: values.optional("hdfs.user"),
            timeout: values.take("hdfs.timeout"),
        }
    }
}

impl Export {
    fn new(values: &mut Values) -> Self {
        Self {
            base_path: values.take("export.base_path"),
            interval: values.take("export.interval"),
            rows_max: values.number("export.rows_max"),
            bytes_max: values.take("export.bytes_max"),
            shutdown_deadline: values.take("export.shutdown_deadline"),
            http_listen: values.take("export.http_listen"),
        }
    }
}

impl OpenWeather {
    fn new(values: &mut Values) -> Self {
        Self {
            api_key: values.optional("openweather.api_key"),
            cities: values.take("openweather.cities"),
            base_url: values.take("openweather.base_url"),
            interval: values.take("openweather.interval"),
            units: values.take("openweather.units"),
            language: values.take("openweather.language"),
            calls_per_minute: values.number("openweather.calls_per_minute"),
        }
    }
}

impl Postgres {
    fn new(values: &mut Values, directory: &Path) -> Self {
        let root_certificate: Option<String> = values.optional("postgres.root_certificate");
        Self {
            host: values.take("postgres.host"),
            port: values.number("postgres.port"),
            database: values.take("postgres.database"),
            user: values.take("postgres.user"),
            password: values.optional("postgres.password"),
            sslmode: values.take("postgres.sslmode"),
            root_certificate: root_certificate.map(|path| directory.join(path)),
            timeout: values.take("postgres.timeout"),
        }
    }
}

impl HBase {
    fn new(values: &mut Values) -> Self {
        Self {
            enabled: values.take("hbase.enabled"),
            host: values.take("hbase.host"),
            port: values.number("hbase.port"),
            table: values.take("hbase.table"),
        }
    }
}

impl Query {
    fn new(values: &mut Values, directory: &Path) -> Self {
        let spill_path = values.optional::<String>("query.spill_path");
        Self {
            memory: values.optional("query.memory"),
            resident_max: values.optional("query.resident_max"),
            column_cache: values.optional("query.column_cache"),
            threads: values.optional_number("query.threads"),
            spill_path: spill_path.map(|path| directory.join(path)),
            spill_max: values.take("query.spill_max"),
            max_join_pairs: values.optional("query.max_join_pairs"),
        }
    }
}

impl Land {
    fn new(values: &mut Values) -> Self {
        Self {
            rows_max: values.number("land.rows_max"),
            bytes_max: values.take("land.bytes_max"),
            interval: values.take("land.interval"),
            shutdown_deadline: values.take("land.shutdown_deadline"),
            http_listen: values.take("land.http_listen"),
        }
    }
}

impl Produce {
    fn new(values: &mut Values, directory: &Path) -> Self {
        let spool_path = values.optional::<String>("produce.spool_path");
        Self {
            spool_path: spool_path.map(|path| directory.join(path)),
            spool_bytes_max: values.take("produce.spool_bytes_max"),
            compression: values.take("produce.compression"),
            topic_partitions: values.optional_number("produce.topic_partitions"),
            topic_replication: values.optional_number("produce.topic_replication"),
            topic_retention: values.optional("produce.topic_retention"),
            shutdown_deadline: values.take("produce.shutdown_deadline"),
            http_listen: values.take("produce.http_listen"),
        }
    }
}

impl Consume {
    fn new(values: &mut Values) -> Self {
        Self {
            rows_max: values.number("consume.rows_max"),
            bytes_max: values.take("consume.bytes_max"),
            interval: values.take("consume.interval"),
            connections: values.number("consume.connections"),
            shutdown_deadline: values.take("consume.shutdown_deadline"),
            http_listen: values.take("consume.http_listen"),
        }
    }
}

impl Serve {
    fn new(values: &mut Values) -> Self {
        Self {
            flight_listen: values.take("serve.flight_listen"),
            http_listen: values.take("serve.http_listen"),
            query_timeout: values.take("serve.query_timeout"),
            connections_max: values.number("serve.connections_max"),
            queries_max: values.number("serve.queries_max"),
            prepared_max: values.number("serve.prepared_max"),
            shutdown_deadline: values.take("serve.shutdown_deadline"),
        }
    }
}

/// A value is of another kind than the field it was taken for.
#[derive(Debug)]
pub(crate) struct OtherKind;

macro_rules! field_types {
    ($($field:ty: $pattern:pat => $held:expr;)*) => {$(
        impl TryFrom<Value> for $field {
            type Error = OtherKind;

            fn try_from(value: Value) -> Result<Self, OtherKind> {
                match value {
                    $pattern => $held,
                    _ => Err(OtherKind),
                }
            }
        }
    )*};
}

field_types! {
    String: Value::Text(text) => Ok(text);
    Vec<String>: Value::List(items) => Ok(items);
    bool: Value::Flag(flag) => Ok(flag);
    u64: Value::Number(number) => Ok(number);
    Duration: Value::Duration(duration) => Ok(duration);
    ByteSize: Value::Size(size) => Ok(size);
    Tz: Value::Zone(zone) => Ok(zone);
    SocketAddr: Value::Address(address) => Ok(address);
    Url: Value::Url(url) => Ok(url);
    Secret: Value::Secret(secret) => Ok(secret);
    Level: Value::Choice(name) => name.parse().map_err(|_| OtherKind);
    Units: Value::Choice(name) => match name {
        "standard" => Ok(Self::Standard),
        "metric" => Ok(Self::Metric),
        "imperial" => Ok(Self::Imperial),
        _ => Err(OtherKind),
    };
    Compression: Value::Choice(name) => match name {
        "gzip" => Ok(Self::Gzip),
        "zstd" => Ok(Self::Zstd),
        "lz4" => Ok(Self::Lz4),
        "none" => Ok(Self::None),
        _ => Err(OtherKind),
    };
    SecurityProtocol: Value::Choice(name) => match name {
        "plaintext" => Ok(Self::Plaintext),
        "ssl" => Ok(Self::Ssl),
        "sasl_plaintext" => Ok(Self::SaslPlaintext),
        "sasl_ssl" => Ok(Self::SaslSsl),
        _ => Err(OtherKind),
    };
    SaslMechanism: Value::Choice(name) => match name {
        "plain" => Ok(Self::Plain),
        "scram-sha-256" => Ok(Self::ScramSha256),
        "scram-sha-512" => Ok(Self::ScramSha512),
        _ => Err(OtherKind),
    };
    SslMode: Value::Choice(name) => match name {
        "disable" => Ok(Self::Disable),
        "prefer" => Ok(Self::Prefer),
        "require" => Ok(Self::Require),
        "verify-full" => Ok(Self::VerifyFull),
        _ => Err(OtherKind),
    };
    LogFormat: Value::Choice(name) => match name {
        "auto" => Ok(Self::Auto),
        "text" => Ok(Self::Text),
        "json" => Ok(Self::Json),
        _ => Err(OtherKind),
    };
}
