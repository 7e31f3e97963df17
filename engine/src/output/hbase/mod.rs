//! Rows as cells of an HBase table, over its Thrift server (Thrift 1).
//!
//! A row of the output is a row of HBase: its key is the values of some columns joined by `#`, every column is a
//! cell of the family `agg` with the value as text, and a null is no cell. All cells of a partition carry one
//! timestamp, which rises each time the partition is published anew. So writing the same rows twice leaves the
//! same cells, and whoever writes late writes below what is newer.
//!
//! The client blocks, and lives on a thread of its own.

mod client;
mod rows;

use std::collections::{BTreeSet, HashMap};

use self::client::Client;
pub(crate) use self::rows::{KeyFault, Row, check_keys, rows};
use crate::error::Error;

/// The column family of all cells.
pub(crate) const FAMILY: &str = "agg";

/// Stands for the configured table in a header.
pub(crate) const CONFIGURED_TABLE: &str = "@hbase.table";

/// A Thrift server of HBase, and the table that a header may leave to the configuration.
#[derive(Clone, Debug)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub table: String,
}

impl Target {
    /// How people name the server.
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

/// One partition as it is to be in HBase.
#[derive(Debug)]
pub(crate) struct Part {
    /// Of every cell, milliseconds.
    pub(crate) timestamp_ms: i64,
    pub(crate) rows: Vec<Row>,
    /// Keys of what is there before.
    pub(crate) before: BTreeSet<Vec<u8>>,
}

/// Writes partitions to one table.
pub(crate) struct Writer {
    target: Target,
    table: String,
    /// None while a call has it, and after one whose thread ended early.
    client: Option<Client>,
}

impl Writer {
    /// The table and its family are created when absent.
    pub(crate) async fn open(target: &Target, table: &str) -> Result<Self, Error> {
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

    /// Keys of the rows that are there, by the value of `column`, of these values at least; without a column
    /// those of the whole table, under the empty text.
    pub(crate) async fn present(
        &mut self,
        column: Option<&str>,
        values: &[&str],
    ) -> Result<HashMap<String, BTreeSet<Vec<u8>>>, Error> {
        let column = column.map(str::to_owned);
        // One scan reads the whole table however many values are asked for; a single one is worth a filter.
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
        let mut present: HashMap<String, BTreeSet<Vec<u8>>> = HashMap::new();
        for (key, value) in rows {
            present.entry(value).or_default().insert(key);
        }
        Ok(present)
    }

    /// Makes `part` what the table holds of a partition.
    pub(crate) async fn publish(&mut self, part: Part) -> Result<(), Error> {
        self.with_client(move |client, table| {
            client.put(table, &part.rows, part.timestamp_ms)?;
            // What is older goes only now, so that no reader misses a row that stays. It takes whole rows
            // that have left, and cells of the others that are null or no column any more.
            client.delete_older(table, &part.before, part.timestamp_ms - 1)
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

/// Runs `work`, which blocks, on a thread of its own.
async fn on_a_thread<T: Send + 'static>(
    target: &Target,
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
            // Nobody waits any more when the run was given up.
            let _ = answer.send((client, done));
        });
    spawned.map_err(|source| failed(source.into()))?;
    answered.await.map_err(|source| failed(source.into()))
}
