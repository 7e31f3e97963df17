//! A lake in a temporary directory, with the repository's own declarations and queries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono_tz::Europe::Paris;
use connections::kafka::KafkaOptions;
use connections::postgres::{PostgresOptions, Protection};
use engine::runtime::{Runtime, RuntimeOptions};
use engine::session::Session;
use ingest::dead_letters::Filter;
use ingest::declaration::Declarations;
use ingest::land::{
    CommitLimits, Destination, FileLanding, LandingCounters, MemoryBudget, Progress, Replay,
    ReplaySources, Replayed, from_files, replay,
};
use jobs::{Library, PartitionSelection, Report, Runner};
use lake::{Lake, StoreOptions, Stores};
use settings::KafkaSecurity;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::Url;

/// A lake and an export directory, with all that landings and runs need.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) lake: Arc<Lake>,
    pub(crate) library: Library,
    pub(crate) declarations: Declarations,
    pub(crate) session: Session,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let stores = Stores::new(StoreOptions {
            user: "tester".to_owned(),
            limit: Duration::from_secs(30),
        });
        let url = Url::from_directory_path(directory.path().join("lake")).expect("a URL");
        let lake = Lake::new(&url, stores).expect("a lake");
        let library = Library::new(queries());
        let declarations = Declarations::load(
            &library.table_files().expect("table files"),
            "weather-api",
            Paris,
        )
        .await
        .expect("declarations");
        Self {
            session: Session::new(
                &lake,
                Paris,
                &Runtime::new(&RuntimeOptions::default()).expect("a runtime"),
            )
            .expect("a session"),
            directory,
            lake,
            library,
            declarations,
        }
    }

    pub(crate) fn exports(&self) -> PathBuf {
        self.directory.path().join("weather")
    }

    /// Writes `lines` to a file of the export directory and returns its path.
    pub(crate) fn export<Line: AsRef<str>>(&self, name: &str, lines: &[Line]) -> PathBuf {
        let path = self.exports().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        let text: String = lines
            .iter()
            .flat_map(|line| [line.as_ref(), "\n"])
            .collect();
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Lands the export file, or directory of export files, at `place`.
    pub(crate) async fn land(&self, place: &Path) -> Result<Progress, ingest::Error> {
        let url = Url::from_file_path(place).expect("a URL");
        let files = FileLanding {
            into: self.destination(),
            topic: "weather-api",
            place: self.lake.stores().locate(&url).expect("a place"),
            watch: false,
        };
        from_files(files, CancellationToken::new(), &|_| ()).await
    }

    fn destination(&self) -> Destination {
        Destination {
            lake: Arc::clone(&self.lake),
            session: self.session.clone(),
            declarations: self.declarations.clone(),
            tables: self.library.root().to_owned(),
            zone: Paris,
            limits: CommitLimits {
                rows_max: 100_000,
                bytes_max: 64 << 20,
                interval: Duration::from_secs(60),
            },
            memory: MemoryBudget::default(),
            counters: LandingCounters::default(),
        }
    }

    /// Replays dead letters by the declarations.
    pub(crate) async fn replay(&self, filter: Filter, dry_run: bool) -> Replayed {
        let again = Replay {
            into: self.destination(),
            sources: unused_sources(),
            filter,
            dry_run,
        };
        replay(again, &|_| ()).await.expect("replayed")
    }

    /// Runs the query called `name` for `days`.
    pub(crate) async fn run(
        &self,
        name: &str,
        days: &PartitionSelection,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Report, jobs::Error> {
        let base = Url::from_directory_path(self.exports()).expect("a URL");
        let runner = Runner {
            lake: Arc::clone(&self.lake),
            session: self.session.clone(),
            base_path: self.lake.stores().locate(&base).expect("a place"),
            zone: Paris,
            hbase: None,
        };
        let query = self.library.query(name)?;
        runner.run(&query, days, parameters, &|_| ()).await
    }

    /// The rows of a statement, each value as text.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, engine::Error> {
        let statement = engine::sql::parse_one(sql, "test")?;
        let rows = self.session.query(&statement).await?;
        let batches = rows.collect().await.map_err(engine::Error::execute)?;
        Ok(batches.iter().flat_map(texts).collect())
    }
}

/// The repository's own query files.
pub(crate) fn queries() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../queries")
}

/// The rows of `batch`, each value as text.
fn texts(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("a printable type"))
        .collect();
    let text = |value: String| {
        if value.is_empty() {
            "(empty)".to_owned()
        } else {
            value
        }
    };
    let row = |row| {
        let values = columns
            .iter()
            .map(|column| text(column.value(row).to_string()));
        values.collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// All dead letters here are from files, so a replay never connects to these.
fn unused_sources() -> ReplaySources {
    ReplaySources {
        kafka: KafkaOptions {
            bootstrap_servers: vec!["127.0.0.1:1".to_owned()],
            group_id: "test".to_owned(),
            topic: "weather-api".to_owned(),
            security: KafkaSecurity::default(),
        },
        postgres: PostgresOptions {
            host: "127.0.0.1".to_owned(),
            port: 1,
            database: "weather".to_owned(),
            user: "postgres".to_owned(),
            password: None,
            protection: Protection::Disable,
            timeout: Duration::from_secs(1),
        },
    }
}
