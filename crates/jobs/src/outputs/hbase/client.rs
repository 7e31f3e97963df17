//! The client of HBase's Thrift server: one connection, with a time limit for each call.
//!
//! After a broken connection the client reconnects and repeats the call: every call is idempotent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use hbase_thrift::hbase::{
    AlreadyExists, BatchMutation, ColumnDescriptor, HbaseSyncClient, IOError, IllegalArgument,
    Mutation, THbaseSyncClient as _, TRowResult, TScan,
};
use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use thrift::transport::{
    ReadHalf, TBufferedReadTransport, TBufferedWriteTransport, TIoChannel as _, TTcpChannel,
    WriteHalf,
};

use super::{FAMILY, HbaseTarget, Row};
use crate::error::Error;

/// Time limit for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Time limit of a single read or write. Creating a table takes a few seconds.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// How often a call is tried while its connection breaks.
const TRIES: usize = 3;
/// Prefix of tables in the default namespace, which the server omits.
const DEFAULT_NAMESPACE: &str = "default:";
/// Rows of one call.
const ROWS_PER_CALL: i32 = 500;

type Connection = HbaseSyncClient<
    TBinaryInputProtocol<TBufferedReadTransport<ReadHalf<TTcpChannel>>>,
    TBinaryOutputProtocol<TBufferedWriteTransport<WriteHalf<TTcpChannel>>>,
>;

/// A client that connects on its first call.
pub(crate) struct Client {
    target: HbaseTarget,
    connection: Option<Connection>,
}

impl Client {
    pub(crate) fn new(target: HbaseTarget) -> Self {
        Self {
            target,
            connection: None,
        }
    }

    fn has_table(&mut self, table: &str) -> Result<bool, Error> {
        let names = self.call("list the tables of", |hbase| hbase.get_table_names())?;
        // The server lists tables of the default namespace without it.
        let listed = table.strip_prefix(DEFAULT_NAMESPACE).unwrap_or(table);
        Ok(names.iter().any(|name| name == listed.as_bytes()))
    }

    /// Whether the table exists with its family. Changes nothing.
    pub(crate) fn is_ready(&mut self, table: &str) -> Result<bool, Error> {
        if !self.has_table(table)? {
            return Ok(false);
        }
        let families = self.call("describe a table of", |hbase| {
            hbase.get_column_descriptors(table.into())
        })?;
        // The server lists families with a trailing colon.
        let has_family = families
            .keys()
            .any(|name| name.strip_suffix(b":").unwrap_or(name) == FAMILY.as_bytes());
        if has_family {
            return Ok(true);
        }
        Err(Error::HbaseFamily {
            table: table.to_owned(),
            family: FAMILY,
        })
    }

    /// Creates the table with its family when it is absent.
    pub(crate) fn create_table(&mut self, table: &str) -> Result<(), Error> {
        if self.is_ready(table)? {
            return Ok(());
        }
        // The default of this struct would set the time to live of cells to zero.
        let family = ColumnDescriptor {
            name: Some(format!("{FAMILY}:").into_bytes()),
            max_versions: Some(1),
            compression: None,
            in_memory: None,
            bloom_filter_type: None,
            bloom_filter_vector_size: None,
            bloom_filter_nb_hashes: None,
            block_cache_enabled: None,
            time_to_live: None,
        };
        self.call("create a table of", |hbase| {
            match hbase.create_table(table.into(), vec![family.clone()]) {
                // Another process has created it, or our own call did before its connection broke.
                Err(thrift::Error::User(error)) if error.is::<AlreadyExists>() => Ok(()),
                other => other,
            }
        })
        .map_err(|error| match namespace(table) {
            Some(namespace) if chain(&error).contains("NamespaceNotFoundException") => {
                Error::HbaseNamespace {
                    table: table.to_owned(),
                    namespace: namespace.to_owned(),
                }
            }
            _ => error,
        })
    }

    /// Keys of all rows that have `column`, each with its value; with `only`, of rows with that
    /// value.
    pub(crate) fn values(
        &mut self,
        table: &str,
        column: &str,
        only: Option<&str>,
    ) -> Result<Vec<(Vec<u8>, String)>, Error> {
        let filter = only.map(|value| {
            let value = value.replace('\'', "''");
            format!("ValueFilter(=, 'binary:{value}')").into_bytes()
        });
        let rows = self.scan(table, format!("{FAMILY}:{column}"), filter)?;
        let rows = rows.into_iter().filter_map(|row| {
            let (_, cell) = row.columns?.into_iter().next()?;
            Some((row.row?, String::from_utf8(cell.value?).ok()?))
        });
        Ok(rows.collect())
    }

    /// Keys of all rows, each with the empty text.
    pub(crate) fn keys(&mut self, table: &str) -> Result<Vec<(Vec<u8>, String)>, Error> {
        let filter = "FirstKeyOnlyFilter() AND KeyOnlyFilter()".into();
        let rows = self.scan(table, FAMILY.to_owned(), Some(filter))?;
        let keys = rows.into_iter().filter_map(|row| row.row);
        Ok(keys.map(|key| (key, String::new())).collect())
    }

    fn scan(
        &mut self,
        table: &str,
        column: String,
        filter: Option<Vec<u8>>,
    ) -> Result<Vec<TRowResult>, Error> {
        // The default of this struct would select the cells of 1970.
        let scan = TScan {
            start_row: None,
            stop_row: None,
            timestamp: None,
            columns: Some(vec![column.into_bytes()]),
            caching: Some(ROWS_PER_CALL),
            filter_string: filter,
            batch_size: None,
            sort_columns: None,
            reversed: None,
            cache_blocks: None,
        };
        // The scanner is lost with the connection, so the scan is repeated as a whole.
        self.call("read rows of", |hbase| {
            let scanner =
                hbase.scanner_open_with_scan(table.into(), scan.clone(), BTreeMap::new())?;
            let mut found = Vec::new();
            loop {
                let mut rows = hbase.scanner_get_list(scanner, ROWS_PER_CALL)?;
                if rows.is_empty() {
                    break;
                }
                found.append(&mut rows);
            }
            hbase.scanner_close(scanner)?;
            Ok(found)
        })
    }

    pub(crate) fn put(
        &mut self,
        table: &str,
        rows: &[Row],
        timestamp_ms: i64,
    ) -> Result<(), Error> {
        for rows in rows.chunks(ROWS_PER_CALL as usize) {
            let batch: Vec<_> = rows.iter().map(put).collect();
            self.mutate("write rows of", table, &batch, timestamp_ms)?;
        }
        Ok(())
    }

    /// Deletes all cells of these rows with timestamps up to `timestamp_ms`.
    pub(crate) fn delete_older(
        &mut self,
        table: &str,
        keys: &BTreeSet<Vec<u8>>,
        timestamp_ms: i64,
    ) -> Result<(), Error> {
        let batch: Vec<_> = keys.iter().map(|key| delete(key)).collect();
        for batch in batch.chunks(ROWS_PER_CALL as usize) {
            self.mutate("delete rows of", table, batch, timestamp_ms)?;
        }
        Ok(())
    }

    fn mutate(
        &mut self,
        attempt: &'static str,
        table: &str,
        batch: &[BatchMutation],
        timestamp_ms: i64,
    ) -> Result<(), Error> {
        self.call(attempt, |hbase| {
            hbase.mutate_rows_ts(table.into(), batch.to_vec(), timestamp_ms, BTreeMap::new())
        })
    }

    fn call<T>(
        &mut self,
        attempt: &'static str,
        call: impl Fn(&mut Connection) -> thrift::Result<T>,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => self.connection.insert(connect(&self.target)?),
            };
            tries += 1;
            let begun = Instant::now();
            let error = match call(connection) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if matches!(
                error,
                thrift::Error::User(_) | thrift::Error::Application(_)
            ) {
                return Err(self.failed(attempt, refusal(error)));
            }
            // The old connection may still deliver the answer of the failed call.
            self.connection = None;
            // The socket reports a time-out as "would block", so the elapsed time decides.
            if begun.elapsed() >= CALL_LIMIT {
                return Err(Error::HbaseTimedOut {
                    attempt,
                    server: self.target.server(),
                    limit: CALL_LIMIT,
                });
            }
            if tries == TRIES {
                return Err(self.failed(attempt, error.into()));
            }
        }
    }

    fn failed(
        &self,
        attempt: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Error {
        Error::Hbase {
            attempt,
            server: self.target.server(),
            source,
        }
    }
}

fn connect(target: &HbaseTarget) -> Result<Connection, Error> {
    let unreachable = |source: io::Error| Error::HbaseUnreachable {
        server: target.server(),
        source,
    };
    let addresses = (target.host.as_str(), target.port).to_socket_addrs();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.map_err(unreachable)? {
        let stream = match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream
            .set_read_timeout(Some(CALL_LIMIT))
            .and_then(|()| stream.set_write_timeout(Some(CALL_LIMIT)))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(unreachable)?;
        let channel = TTcpChannel::with_stream(stream).split();
        let (read, write) = channel.map_err(|error| unreachable(io::Error::other(error)))?;
        // Strict: a server with another protocol is detected at its first bytes.
        return Ok(HbaseSyncClient::new(
            TBinaryInputProtocol::new(TBufferedReadTransport::new(read), true),
            TBinaryOutputProtocol::new(TBufferedWriteTransport::new(write), true),
        ));
    }
    Err(unreachable(last))
}

fn put(row: &Row) -> BatchMutation {
    let cells = row.cells.iter().map(|(column, value)| Mutation {
        is_delete: Some(false),
        column: Some(format!("{FAMILY}:{column}").into_bytes()),
        value: Some(value.clone().into_bytes()),
        write_to_w_a_l: Some(true),
    });
    BatchMutation {
        row: Some(row.key.clone().into_bytes()),
        mutations: Some(cells.collect()),
    }
}

fn delete(key: &[u8]) -> BatchMutation {
    BatchMutation {
        row: Some(key.to_vec()),
        mutations: Some(vec![Mutation {
            is_delete: Some(true),
            // The family alone: all its columns.
            column: Some(FAMILY.into()),
            value: None,
            write_to_w_a_l: Some(true),
        }]),
    }
}

/// The message of the server without the Java stack below it.
fn refusal(error: thrift::Error) -> Box<dyn std::error::Error + Send + Sync> {
    let thrift::Error::User(error) = error else {
        return error.into();
    };
    let message = if let Some(error) = error.downcast_ref::<IOError>() {
        error.message.clone()
    } else if let Some(error) = error.downcast_ref::<IllegalArgument>() {
        error.message.clone()
    } else {
        None
    };
    match message {
        Some(message) => message.lines().next().unwrap_or_default().into(),
        None => error,
    }
}

fn namespace(table: &str) -> Option<&str> {
    table.split_once(':').map(|(namespace, _)| namespace)
}

fn chain(error: &Error) -> String {
    let source = std::error::Error::source(error);
    source.map(ToString::to_string).unwrap_or_default()
}
