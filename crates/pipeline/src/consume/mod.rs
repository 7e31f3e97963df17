//! Consuming: messages of a Kafka topic become rows of table `weather` in PostgreSQL, each exactly
//! once. The position of the topic is stored beside them.
//!
//! One thread reads and validates records, and one writer for each connection writes batches, each
//! in one transaction. Several connections pay because PostgreSQL parses JSON more slowly than one
//! thread reads it, on one core for each connection. The database holds all state, so a start after
//! a crash is the same as the first one.

mod batch;
mod counters;
mod store;
mod validate;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use connections::kafka::{self, Connection, KafkaOptions, Reading, Watermarks};
use connections::postgres::{Database, PostgresOptions, is_data_error};
use connections::records::Positions;
use service::readiness::ReadinessState;
use service::retry::{AttemptState, retry_transient};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::batch::Batch;
pub use self::counters::ConsumeCounters;
use self::store::Store;
use self::validate::{RecordValidator, Validated};
use crate::error::Error;

/// Validated blocks that wait for one writer, at most 32 MiB: as many as arrive during one
/// transaction.
const BLOCKS_MAX: usize = 16;

/// How often the consumer asks the brokers whether the topic is still the same one.
const TOPIC_CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Consumption of a topic.
#[derive(Debug)]
pub struct Consumption {
    /// Brokers and name of the topic.
    pub kafka: KafkaOptions,
    /// Server, database and login.
    pub postgres: PostgresOptions,
    /// When a batch is written.
    pub limits: BatchLimits,
    /// Whether to end when everything that the topic held at the start is in the table.
    pub once: bool,
    /// Whether to skip messages that Kafka no longer holds, instead of failing.
    pub accept_loss: bool,
}

/// When a writer writes its batch: at the first of the limits that is reached.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Messages of a batch.
    pub rows_max: usize,
    /// Bytes of the messages of a batch.
    pub bytes_max: u64,
    /// Age of the oldest message of a batch.
    pub interval: Duration,
    /// Connections that write in parallel; one of them writes all of a topic partition.
    pub connections: usize,
}

/// What a consumption did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Messages that became rows.
    pub inserted: u64,
    /// Messages that were rows or dead letters already.
    pub repeated: u64,
    /// Messages that became dead letters.
    pub refused: u64,
    /// Transactions that are committed.
    pub transactions: u64,
}

impl std::ops::AddAssign for Consumed {
    fn add_assign(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.repeated += other.repeated;
        self.refused += other.refused;
        self.transactions += other.transactions;
    }
}

/// Consumes a topic until its messages are in the table, or until `shutdown`, which writes the
/// current batches first.
///
/// Without `once` it retries while the database or the brokers are unavailable, and while brokers
/// refuse a login that they accepted before.
///
/// # Errors
/// When the topic does not exist or was recreated, when Kafka no longer holds messages that were
/// not consumed, or when the brokers or the database refuse the login. With `once` also when the
/// database or Kafka fails.
pub async fn consume(
    consumption: Consumption,
    shutdown: CancellationToken,
    counters: &ConsumeCounters,
    health: &ReadinessState,
) -> Result<Consumed, Error> {
    let attempt = async |state: &AttemptState| {
        let consumer = ConsumeAttempt::open(&consumption, counters, state).await?;
        health.set_ready();
        consumer.run(&shutdown, state).await
    };
    if consumption.once {
        return attempt(&AttemptState::default()).await;
    }
    let failed = |why: &str| {
        health.set_not_ready(why);
        counters.retries.inc();
    };
    retry_transient(&shutdown, &failed, attempt).await
}

/// One attempt at a consumption.
struct ConsumeAttempt<'a> {
    consumption: &'a Consumption,
    counters: &'a ConsumeCounters,
    connection: Connection,
    /// Offsets that the topic held when the attempt began.
    watermarks: BTreeMap<i32, Watermarks>,
    /// One for each connection.
    stores: Vec<Store>,
    /// Committed positions.
    positions: Mutex<Positions>,
}

impl<'a> ConsumeAttempt<'a> {
    async fn open(
        consumption: &'a Consumption,
        counters: &'a ConsumeCounters,
        state: &AttemptState,
    ) -> Result<Self, Error> {
        let connection = Connection::open(consumption.kafka.clone(), "isobar-consume").await?;
        state.authenticated();
        let connect = async || Database::connect(&consumption.postgres, "isobar consume").await;
        let (topic, id) = (connection.topic(), connection.id());
        let (first, positions) = Store::open(connect().await?, topic, id).await?;
        // Read after the lock of `Store::open` is held: another consumer may have committed until
        // then.
        let watermarks = connection.watermarks().await?;
        let mut stores = vec![first];
        while stores.len() < consumption.limits.connections.min(watermarks.len()) {
            stores.push(Store::open_another(connect().await?, topic).await?);
        }
        Ok(Self {
            consumption,
            counters,
            connection,
            watermarks,
            stores,
            positions: Mutex::new(positions),
        })
    }

    /// Reads from the stored positions, and writes.
    async fn run(
        mut self,
        shutdown: &CancellationToken,
        state: &AttemptState,
    ) -> Result<Consumed, Error> {
        let stores = std::mem::take(&mut self.stores);
        let from = kafka::start_offsets(
            self.connection.topic(),
            &committed(&self.positions),
            &self.watermarks,
            self.consumption.accept_loss,
        )?;
        let until = self
            .watermarks
            .iter()
            .map(|(number, held)| (*number, held.high));
        let reading = Reading {
            until: self.consumption.once.then(|| until.collect()),
            from,
        };
        self.counters
            .set_lag(kafka::pending(&reading.from, &self.watermarks));
        info!(topic = self.connection.topic(), from = ?reading.from, "reading");
        // Cancelled when this function returns, so that the reader thread ends with it.
        let stop = shutdown.child_token();
        let _stop = stop.clone().drop_guard();
        let (senders, writers) = self.start_writers(stores, state);
        let reader = {
            let connection = self.connection.clone();
            tokio::task::spawn_blocking(move || {
                let mut validator = RecordValidator::default();
                let send = move |records| distribute(validator.validate(&records), &senders);
                kafka::read(&connection, &reading, send, &stop)
            })
        };
        let writing = writers.into_iter().map(BatchWriter::write);
        let watching = publish_lag(&self.connection, &self.positions, self.counters);
        let consumed = tokio::select! {
            written = futures::future::try_join_all(writing) => written?,
            looked = watching => return Err(looked),
        };
        match reader.await.map_err(Error::Task)? {
            Ok(()) => Ok(consumed
                .into_iter()
                .fold(Consumed::default(), |mut sum, one| {
                    sum += one;
                    sum
                })),
            Err(connections::Error::OffsetsOutOfRange { .. }) => {
                let (committed, accept_loss) =
                    (committed(&self.positions), self.consumption.accept_loss);
                let explained =
                    kafka::explain_out_of_range(&self.connection, &committed, accept_loss);
                Err(explained.await.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A writer for each connection, and the channels to them.
    fn start_writers<'b>(
        &'b self,
        stores: Vec<Store>,
        state: &'b AttemptState,
    ) -> (Vec<mpsc::Sender<Validated>>, Vec<BatchWriter<'b>>) {
        let (connection, positions) = (&self.connection, &self.positions);
        let (counters, limits) = (self.counters, self.consumption.limits);
        let writers = stores.into_iter().map(|store| {
            let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
            let writer = BatchWriter {
                blocks,
                store,
                connection,
                positions,
                counters,
                limits,
                state,
                consumed: Consumed::default(),
            };
            (sender, writer)
        });
        writers.unzip()
    }
}

/// Distributes a block to the writers, each topic partition always to the same one. False when a
/// writer has ended.
fn distribute(block: Validated, senders: &[mpsc::Sender<Validated>]) -> bool {
    let parts = block.split(senders.len());
    let mut parts = parts.into_iter().zip(senders);
    parts.all(|(part, sender)| part.positions.is_empty() || sender.blocking_send(part).is_ok())
}

fn committed(positions: &Mutex<Positions>) -> Positions {
    let positions = positions.lock().unwrap_or_else(PoisonError::into_inner);
    positions.clone()
}

/// Publishes the lag, until the topic is recreated or deleted.
async fn publish_lag(
    connection: &Connection,
    positions: &Mutex<Positions>,
    counters: &ConsumeCounters,
) -> Error {
    loop {
        if let Err(error) = connection.check_not_recreated().await {
            return error.into();
        }
        // Only metrics depend on it, so a failure is only logged.
        match connection.watermarks().await {
            Ok(watermarks) => {
                let positions = committed(positions);
                counters.show_positions(&positions);
                counters.set_lag(kafka::pending(&positions, &watermarks));
            }
            Err(error) => debug!(%error, "could not read the end offsets of the topic"),
        }
        tokio::time::sleep(TOPIC_CHECK_INTERVAL).await;
    }
}

/// Writes the messages of some topic partitions.
struct BatchWriter<'a> {
    blocks: mpsc::Receiver<Validated>,
    store: Store,
    connection: &'a Connection,
    positions: &'a Mutex<Positions>,
    counters: &'a ConsumeCounters,
    limits: BatchLimits,
    state: &'a AttemptState,
    consumed: Consumed,
}

impl BatchWriter<'_> {
    /// Writes batches until the reader has ended, and then the last one.
    async fn write(mut self) -> Result<Consumed, Error> {
        let limits = self.limits;
        let mut batch = Batch::default();
        loop {
            let since = batch.since.unwrap_or_else(Instant::now);
            tokio::select! {
                block = self.blocks.recv() => match block {
                    Some(block) => batch.push(block),
                    None => break,
                },
                () = tokio::time::sleep_until((since + limits.interval).into()), if !batch.is_empty() => {
                    self.commit(std::mem::take(&mut batch)).await?;
                }
            }
            if batch.count() >= limits.rows_max || batch.bytes >= limits.bytes_max {
                self.commit(std::mem::take(&mut batch)).await?;
            }
        }
        if !batch.is_empty() {
            self.commit(batch).await?;
        }
        Ok(self.consumed)
    }

    /// Writes a batch in one transaction. If PostgreSQL refuses a message in it, the writer halves
    /// the batch until it finds that message, which becomes a dead letter.
    async fn commit(&mut self, batch: Batch) -> Result<(), Error> {
        // The last step before writing: messages of a recreated topic must not be written.
        self.connection.check_not_recreated().await?;
        // Written in order, since positions only grow.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let written = match self.store.write(&part).await {
                Err(Error::Connections(connections::Error::Postgres { source, .. }))
                    if is_data_error(&source) && part.count() > 0 =>
                {
                    debug!(%source, rows = part.count(), "PostgreSQL refuses a message of these");
                    match part.halve(&source) {
                        batch::Halved::Two(first, second) => parts.extend([second, first]),
                        batch::Halved::Refused(refused) => parts.push(refused),
                    }
                    continue;
                }
                written => written?,
            };
            self.state.made_progress();
            self.counters.record_written(&written, &part.newest());
            self.consumed += written;
            let mut positions = self
                .positions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            positions.extend(part.positions);
        }
        self.connection
            .commit_group_offsets(&committed(self.positions));
        Ok(())
    }
}
