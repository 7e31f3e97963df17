//! `isobar check`: checks every configured connection, and changes nothing.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use config::{Origin, Setting};
use connections::kafka::Probe;
use connections::postgres;
use jobs::HbaseTarget;
use lake::Lake;
use url::Url;

use crate::app::App;
use crate::commands::land;
use crate::failure::ErrorReport;
use crate::output::Output;
use crate::text;

/// Check the configuration and every connection
///
/// The lake, the export directory and the query files always; WebHDFS and Kafka where their
/// addresses are set (hdfs.url, kafka.bootstrap_servers), PostgreSQL where it is configured, HBase
/// where it is enabled.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {}

const EXAMPLES: &str = "\
EXAMPLES:
  isobar check
  HDFS_URL=http://namenode:9870 isobar check";

/// Time limit of each check, whatever the limits of its connection are.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The key that says whether Kafka is part of this installation.
const SERVERS: &str = "kafka.bootstrap_servers";

/// The result of one check.
struct CheckResult {
    name: &'static str,
    target: String,
    outcome: anyhow::Result<String>,
}

impl Check {
    pub(crate) async fn run(&self, app: &App, out: &mut Output) -> anyhow::Result<()> {
        let lake = app.lake()?;
        let queries = CheckResult {
            name: "queries",
            target: app.config.queries.path.display().to_string(),
            outcome: queries(app).await,
        };
        let (tables, exports, web, kafka, hbase, postgres) = tokio::join!(
            probe("lake", &app.config.lake.url, tables(&lake)),
            probe("export", &app.config.export.base_path, exports(app, &lake)),
            web_hdfs(app),
            kafka(app),
            hbase(app),
            postgres(app),
        );
        let mut failures = Vec::new();
        let always = [queries, tables, exports].into_iter();
        for result in always.chain([web, kafka, hbase, postgres].into_iter().flatten()) {
            let CheckResult {
                name,
                target,
                outcome,
            } = result;
            match outcome {
                Ok(found) => out.line(format_args!("ok      {name:<8} {target}  {found}"))?,
                Err(error) => {
                    out.line(format_args!("failed  {name:<8} {target}"))?;
                    let report = ErrorReport::of(error.as_ref()).to_string();
                    let report = report.trim_end().trim_start_matches("error: ");
                    failures.push(format!("{name}: {report}"));
                }
            }
        }
        out.flush()?;
        if !failures.is_empty() {
            let count = text::counted(failures.len() as u64, "check");
            bail!("{count} failed\n{}", failures.join("\n"));
        }
        Ok(())
    }
}

async fn probe(
    name: &'static str,
    target: &impl Display,
    check: impl Future<Output = anyhow::Result<String>>,
) -> CheckResult {
    let outcome = tokio::time::timeout(TIMEOUT, check).await;
    let outcome = outcome.unwrap_or_else(|_elapsed| {
        Err(anyhow!(
            "{target} did not answer within {} s; check that it runs, and its key in `isobar config show`",
            TIMEOUT.as_secs()
        ))
    });
    CheckResult {
        name,
        target: target.to_string(),
        outcome,
    }
}

/// Reads query files and table files. `query check` plans them.
async fn queries(app: &App) -> anyhow::Result<String> {
    let library = app.library()?;
    for name in library.names()? {
        library.query(name.as_str())?;
    }
    let tables = land::declarations(app, &library).await?.tables().count();
    let queries = library.names()?.len();
    let queries = if queries == 1 {
        "1 query".to_owned()
    } else {
        format!("{queries} queries")
    };
    Ok(format!(
        "{queries}, {}",
        text::counted(tables as u64, "declared table")
    ))
}

async fn tables(lake: &Arc<Lake>) -> anyhow::Result<String> {
    let tables = lake.readable().await?;
    Ok(text::counted(tables.len() as u64, "table"))
}

async fn exports(app: &App, lake: &Lake) -> anyhow::Result<String> {
    let directories = app.base_path(lake)?.directories().await?;
    let days = directories
        .iter()
        .filter(|name| name.starts_with("dt="))
        .count();
    Ok(text::counted(days as u64, "day"))
}

/// Checks that the brokers answer and have the declared topics, where their address is set.
async fn kafka(app: &App) -> Option<CheckResult> {
    let servers = app.settings.iter().find(|set| set.key == SERVERS)?;
    if servers.origin == Origin::Default {
        return None;
    }
    let servers = app.config.kafka.bootstrap_servers.join(",");
    Some(probe("kafka", &servers, topics(app)).await)
}

/// The topics of the declared tables, each of which must exist.
async fn topics(app: &App) -> anyhow::Result<String> {
    let declarations = land::declarations(app, &app.library()?).await?;
    let topics: BTreeSet<_> = declarations.tables().map(|table| &table.topic).collect();
    let mut found = Vec::new();
    for topic in topics {
        let probe = Probe::new(app.kafka(topic));
        let partitions = text::counted(probe.partitions().await? as u64, "partition");
        found.push(format!("topic {topic}, {partitions}"));
    }
    Ok(found.join("; "))
}

/// Checks that HBase answers, and which tables exist, where it is enabled.
async fn hbase(app: &App) -> Option<CheckResult> {
    let target = app.hbase()?;
    let check = async {
        let mut found = Vec::new();
        for table in hbase_tables(app, &target) {
            found.push(if target.has_table(&table).await? {
                format!("table {table}")
            } else {
                format!("table {table} comes with the first run")
            });
        }
        Ok(found.join("; "))
    };
    Some(probe("hbase", &target.server(), check).await)
}

/// The configured table, and those that query files name. The check of the query files reports
/// broken ones.
fn hbase_tables(app: &App, target: &HbaseTarget) -> BTreeSet<String> {
    let mut tables = BTreeSet::from([target.table.clone()]);
    let Ok(library) = app.library() else {
        return tables;
    };
    let names = library.names().unwrap_or_default();
    let queries = names
        .iter()
        .filter_map(|name| library.query(name.as_str()).ok());
    let outputs = queries.filter_map(|query| query.header.output.hbase);
    tables.extend(outputs.map(|output| target.table_called(&output.table).to_owned()));
    tables
}

/// Checks that PostgreSQL accepts the login and has usable tables, where it is configured. A
/// password alone does not count: another program may have set it.
async fn postgres(app: &App) -> Option<CheckResult> {
    let says_where = |setting: &Setting| {
        setting.key.starts_with("postgres.")
            && setting.key != "postgres.password"
            && setting.origin != Origin::Default
    };
    app.settings.iter().find(|setting| says_where(setting))?;
    let options = app.postgres();
    let check = async { Ok(postgres::describe(&options).await?) };
    Some(probe("postgres", &options.server(), check).await)
}

/// Checks that the NameNode answers over WebHDFS, which the legacy pipeline used, where an address
/// is set.
async fn web_hdfs(app: &App) -> Option<CheckResult> {
    let base = app.config.hdfs.url.as_ref()?;
    if !base.scheme().starts_with("http") {
        return None;
    }
    Some(probe("webhdfs", base, root_status(app, base)).await)
}

async fn root_status(app: &App, base: &Url) -> anyhow::Result<String> {
    let mut url = base.join("/webhdfs/v1/")?;
    url.query_pairs_mut().append_pair("op", "GETFILESTATUS");
    if let Some(user) = &app.config.hdfs.user {
        url.query_pairs_mut().append_pair("user.name", user);
    }
    let remedy = || {
        format!(
            "{base} does not answer as WebHDFS; check that the NameNode runs, then hdfs.url (HDFS_URL)"
        )
    };
    let answer = reqwest::Client::builder()
        .timeout(app.config.hdfs.timeout)
        .build()?
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .with_context(remedy)?;
    let body: serde_json::Value = answer.json().await.with_context(remedy)?;
    body.get("FileStatus").with_context(remedy)?;
    Ok("ready".to_owned())
}
