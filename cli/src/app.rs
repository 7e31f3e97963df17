//! What all commands share: the configuration, and the parts of the engine that it configures.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use config::{self, Config, Loaded, Log, LogFormat, Setting, Sources, SslMode};
use connections::kafka::KafkaOptions;
use connections::postgres::{PostgresOptions, Protection};
use engine::runtime::{JOIN_PAIRS_MAX, Runtime, RuntimeOptions, SpillPath};
use engine::session::Session;
use jobs::HbaseTarget;
use jobs::Library;
use lake::{Lake, Location, StoreOptions, Stores};
#[cfg(feature = "fail-points")]
use signal_hook::consts::{SIGKILL, SIGSTOP};
use tracing::Level;

use crate::global::{Global, Verbosity};
use crate::logging;
use crate::progress::ProgressMode;

/// The version of this binary.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The configuration and the environment of this process.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    /// The value and origin of every key.
    pub(crate) settings: Vec<Setting>,
    /// The arguments of `--set`, in their order.
    pub(crate) overrides: Vec<(String, String)>,
    pub(crate) progress: ProgressMode,
    /// The working directory.
    pub(crate) directory: PathBuf,
    /// The user for HDFS from the environment, which `hdfs.user` overrides.
    user: Option<String>,
    /// The directory of files that are kept between processes; `None` where the user has no home.
    pub(crate) state_directory: Option<PathBuf>,
    /// Created with the first session.
    runtime: Arc<OnceLock<Arc<Runtime>>>,
}

impl App {
    /// Loads the configuration and starts logging. A refused configuration is logged with the
    /// defaults.
    pub(crate) fn load(global: &Global, verbosity: Verbosity) -> anyhow::Result<Self> {
        let loaded = Sources::from_process(global.config.clone(), global.set.clone())
            .and_then(|sources| Ok((config::load(&sources)?, sources)));
        let (loaded, sources) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let log = Log {
                    level: Level::INFO,
                    format: LogFormat::Auto,
                };
                logging::init(&log, verbosity);
                return Err(error).context("the configuration was refused");
            }
        };
        logging::init(&loaded.config.log, verbosity);
        Ok(Self::new(
            loaded,
            &sources,
            ProgressMode::detect(global.quiet),
        ))
    }

    pub(crate) fn new(loaded: Loaded, sources: &Sources, progress: ProgressMode) -> Self {
        let variable = |name: &str| {
            sources
                .variables
                .get(name)
                .filter(|value| !value.is_empty())
        };
        // As if killed from outside: no destructor runs.
        #[cfg(feature = "fail-points")]
        if let Some(choice) = variable("ISOBAR_FAIL_POINT") {
            service::fail::arm(choice, || _ = signal_hook::low_level::raise(SIGKILL));
        } else if let Some(choice) = variable("ISOBAR_STOP_POINT") {
            service::fail::arm(choice, || _ = signal_hook::low_level::raise(SIGSTOP));
        }
        let state_directory = variable("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")))
            .map(|state| state.join("isobar"));
        Self {
            config: loaded.config,
            settings: loaded.settings,
            overrides: sources.overrides.clone(),
            progress,
            directory: sources.directory.clone(),
            user: variable("HADOOP_USER_NAME")
                .or_else(|| variable("USER"))
                .cloned(),
            state_directory,
            runtime: Arc::default(),
        }
    }

    pub(crate) fn lake(&self) -> Result<Arc<Lake>, lake::Error> {
        let user = self.config.hdfs.user.clone().or_else(|| self.user.clone());
        let stores = Stores::new(StoreOptions {
            user: user.unwrap_or_else(|| "of the system".to_owned()),
            limit: self.config.hdfs.timeout,
        });
        Lake::new(&self.config.lake.url, stores)
    }

    pub(crate) fn session(&self, lake: &Arc<Lake>) -> Result<Session, engine::Error> {
        let session = Session::new(lake, self.config.time.zone, &self.runtime()?)?;
        if let Some(pairs_max) = self.config.query.max_join_pairs {
            session.limit_join_pairs(pairs_max);
        }
        Ok(session)
    }

    /// A session for statements of users and clients. It limits the pairs of a join, because a
    /// forgotten join condition would keep it busy for hours.
    pub(crate) fn session_for_statements(
        &self,
        lake: &Arc<Lake>,
    ) -> Result<Session, engine::Error> {
        let session = self.session(lake)?;
        if self.config.query.max_join_pairs.is_none() {
            session.limit_join_pairs(JOIN_PAIRS_MAX);
        }
        Ok(session)
    }

    /// The runtime that all statements of this process share.
    pub(crate) fn runtime(&self) -> Result<Arc<Runtime>, engine::Error> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(Arc::clone(runtime));
        }
        let runtime = Runtime::new(&self.runtime_options())?;
        Ok(Arc::clone(self.runtime.get_or_init(|| runtime)))
    }

    fn runtime_options(&self) -> RuntimeOptions {
        let config = &self.config.query;
        let directories = [
            self.state_directory.clone(),
            Some(std::env::temp_dir().join("isobar")),
        ];
        let directories = directories
            .into_iter()
            .flatten()
            .map(|directory| directory.join("spill"));
        RuntimeOptions {
            memory: config.memory.map(|size| size.0),
            resident_max: config.resident_max.map(|size| size.0),
            column_cache: config.column_cache.map(|size| size.0),
            threads: config.threads,
            spill: match &config.spill_path {
                Some(path) => SpillPath::At(path.clone()),
                None => SpillPath::FirstOf(directories.collect()),
            },
            spill_max: config.spill_max.0,
        }
    }

    pub(crate) fn base_path(&self, lake: &Lake) -> Result<Location, lake::Error> {
        lake.stores().locate(&self.config.export.base_path)
    }

    /// The HBase target, if it is enabled.
    pub(crate) fn hbase(&self) -> Option<HbaseTarget> {
        let hbase = &self.config.hbase;
        hbase.enabled.then(|| HbaseTarget {
            host: hbase.host.clone(),
            port: hbase.port,
            table: hbase.table.clone(),
        })
    }

    /// The connection options of PostgreSQL.
    pub(crate) fn postgres(&self) -> PostgresOptions {
        let config = &self.config.postgres;
        PostgresOptions {
            host: config.host.clone(),
            port: config.port,
            database: config.database.clone(),
            user: config.user.clone(),
            password: config.password.clone(),
            protection: match config.sslmode {
                SslMode::Disable => Protection::Disable,
                SslMode::Prefer => Protection::Prefer,
                SslMode::Require => Protection::Require,
                SslMode::VerifyFull => Protection::VerifyFull {
                    roots: config.root_certificate.clone(),
                },
            },
            timeout: config.timeout,
        }
    }

    /// The connection options of Kafka, for `topic`.
    pub(crate) fn kafka(&self, topic: &str) -> KafkaOptions {
        let kafka = &self.config.kafka;
        KafkaOptions {
            bootstrap_servers: kafka.bootstrap_servers.clone(),
            group_id: kafka.group_id.clone(),
            topic: topic.to_owned(),
            security: kafka.security.clone(),
        }
    }

    pub(crate) fn library(&self) -> anyhow::Result<Library> {
        let path = &self.config.queries.path;
        std::fs::read_dir(path).with_context(|| {
            format!(
                "could not read the query files in {}; set queries.path (ISOBAR__QUERIES__PATH) to their directory",
                path.display()
            )
        })?;
        Ok(Library::new(path.clone()))
    }
}
