//! Rows as cells of an HBase table, through its Thrift server (Thrift 1).
//!
//! A row of the output is a row of HBase. Its key is the values of some columns joined by `#`;
//! every column is a cell of the family `agg` with the value as text; a null is no cell. All cells
//! of a partition have one timestamp, which rises with each publication of the partition. Writing
//! the same rows twice therefore leaves the same cells, and a late writer does not hide newer
//! cells.
//!
//! The client blocks, so its calls run on a dedicated thread.

mod client;
mod rows;

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use self::client::Client;
pub(crate) use self::rows::{KeyFault, Row, check_keys, rows};
use crate::error::Error;

/// The column family of all cells.
pub(crate) const FAMILY: &str = "agg";

/// The name by which a header refers to the configured table.
pub(crate) const CONFIGURED_TABLE: &str = "@hbase.table";

/// A table of HBase; `@hbase.table` is the configured one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HbaseOutput {
    /// `namespace:table`, `table` or `@hbase.table`.
    pub table: String,
    /// Columns whose values, joined by `#`, are the key of a row.
    pub row_key: Vec<String>,
}

impl HbaseOutput {
    /// The key of the header that declares it.
    pub(crate) const KEY: &str = "[output.hbase]";

    /// What is wrong with the declaration, for a query with this partition column.
    pub(crate) fn fault(&self, has_table: bool, partition: Option<&str>) -> Option<String> {
        let Self { table, row_key } = self;
        let is_name = |part: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            !part.is_empty() && part.chars().all(fits)
        };
        if !has_table {
            Some("output.hbase needs output.table, whose rows it copies".to_owned())
        } else if table != CONFIGURED_TABLE
            && !table
                .split_once(':')
                .map_or(is_name(table), |(a, b)| is_name(a) && is_name(b))
        {
            Some(format!(
                "output.hbase.table is \"{table}\"; expected namespace:table, or {CONFIGURED_TABLE} for the configured one"
            ))
        } else if row_key.is_empty() {
            Some("output.hbase.row_key names no column".to_owned())
        } else {
            // Partitions with the same row keys would overwrite each other.
            let is_in_key = |column: &str| row_key.iter().any(|named| named == column);
            let partition = partition.filter(|partition| !is_in_key(partition))?;
            Some(format!(
                "output.hbase.row_key lacks the partition \"{partition}\"; add it, or days overwrite each other's rows"
            ))
        }
    }
}

/// A Thrift server of HBase, and the table that a header may leave to the configuration.
#[derive(Clone, Debug)]
pub struct HbaseTarget {
    /// Host of the Thrift server.
    pub host: String,
    /// Port of the Thrift server.
    pub port: u16,
    /// The table that `@hbase.table` refers to.
    pub table: String,
}

impl HbaseTarget {
    /// `host:port`, for messages.
    pub fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The name of the table that a header calls `named`.
    pub fn table_called<'a>(&'a self, named: &'a str) -> &'a str {
        if named == CONFIGURED_TABLE {
            &self.table
        } else {
            named
        }
    }

    /// Whether the server answers and has `table`; nothing is changed.
    ///
    /// # Errors
    /// When it does not answer, or the table lacks the family.
    pub async fn has_table(&self, table: &str) -> Result<bool, Error> {
        let table = table.to_owned();
        let client = Client::new(self.clone());
        let (_, found) = on_a_thread(self, client, move |client| client.is_ready(&table)).await?;
        found
    }
}

/// The rows of one partition, as HBase is to have them.
#[derive(Debug)]
pub(crate) struct HbaseRows {
    /// Timestamp of every cell, milliseconds since the epoch.
    pub(crate) timestamp_ms: i64,
    pub(crate) rows: Vec<Row>,
    /// Keys of the rows that HBase has before the write.
    pub(crate) existing_keys: BTreeSet<Vec<u8>>,
}

/// Writes partitions to one table.
pub(crate) struct Writer {
    target: HbaseTarget,
    table: String,
    /// `None` while a call uses it, and after a call whose thread panicked.
    client: Option<Client>,
}

impl Writer {
    /// The table and its family are created when absent.
    pub(crate) async fn open(target: &HbaseTarget, table: &str) -> Result<Self, Error> {
        let mut writer = Self {
            target: target.clone(),
            table: table.to_owned(),
            client: None,
        };
        writer
            .with_client(|client, table| client.create_table(table))
            .await?;
        Ok(writer)
    }

    /// Keys of the rows in HBase, grouped by the value of `column`. The result covers at least
    /// `values`. Without a column it has the keys of the whole table, under the empty text.
    pub(crate) async fn existing_keys(
        &mut self,
        column: Option<&str>,
        values: &[&str],
    ) -> Result<HashMap<String, BTreeSet<Vec<u8>>>, Error> {
        let column = column.map(str::to_owned);
        // HBase scans the whole table for any number of values; a filter only pays for a single
        // one.
        let only = match values {
            [value] => Some((*value).to_owned()),
            _ => None,
        };
        let rows = self
            .with_client(move |client, table| match &column {
                Some(column) => client.values(table, column, only.as_deref()),
                None => client.keys(table),
            })
            .await?;
        let mut existing: HashMap<String, BTreeSet<Vec<u8>>> = HashMap::new();
        for (key, value) in rows {
            existing.entry(value).or_default().insert(key);
        }
        Ok(existing)
    }

    /// Replaces the rows of one partition in the table.
    pub(crate) async fn publish(&mut self, partition: HbaseRows) -> Result<(), Error> {
        self.with_client(move |client, table| {
            client.put(table, &partition.rows, partition.timestamp_ms)?;
            // Older cells are deleted after the write, so that readers always find the rows that
            // stay. These are all cells of removed rows, and cells whose column is now null or was
            // dropped.
            client.delete_older(table, &partition.existing_keys, partition.timestamp_ms - 1)
        })
        .await
    }

    async fn with_client<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Client, &str) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let client = self.client.take();
        let client = client.unwrap_or_else(|| Client::new(self.target.clone()));
        let table = self.table.clone();
        let work = move |client: &mut Client| work(client, &table);
        let (client, done) = on_a_thread(&self.target, client, work).await?;
        self.client = Some(client);
        done
    }
}

/// Runs the blocking `work` on a dedicated thread.
async fn on_a_thread<T: Send + 'static>(
    target: &HbaseTarget,
    mut client: Client,
    work: impl FnOnce(&mut Client) -> Result<T, Error> + Send + 'static,
) -> Result<(Client, Result<T, Error>), Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Hbase {
        attempt: "run the client of",
        server: target.server(),
        source,
    };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new()
        .name("hbase".to_owned())
        .spawn(move || {
            let done = work(&mut client);
            // The receiver is gone when the run was cancelled.
            let _ = answer.send((client, done));
        });
    spawned.map_err(|source| failed(source.into()))?;
    answered.await.map_err(|source| failed(source.into()))
}
