//! Consuming: messages of a Kafka topic become rows of table `weather` in PostgreSQL, each exactly once, and how far the
//! topic was read stands beside them.
//!
//! A thread reads and judges, and writers take what they are dealt, one transaction a batch: PostgreSQL parses JSON
//! more slowly than we read it, on one core a connection. Everything that decides anything is
//! in the database, so that each beginning is the same, the first as well as the one after a crash.

mod batch;
mod counters;
mod judge;
mod store;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::batch::Batch;
pub use self::counters::Counters;
use self::judge::Judged;
use self::store::Store;
use crate::error::Error;
use crate::health::Health;
use crate::postgres::{Database, PostgresOptions, is_of_data};
use crate::retry::{AttemptState, retry_transient};
use crate::source::Positions;
use crate::source::kafka::{self, Connection, Extent, KafkaOptions, Reading};

/// Blocks of judged records that wait for a writer: as much as comes while it waits for a transaction, at most 32 MiB.
const BLOCKS_MAX: usize = 16;

/// How often the topic is asked whether it is still the same one while nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Consumption of a topic.
#[derive(Debug)]
pub struct Consumption {
    pub kafka: KafkaOptions,
    pub postgres: PostgresOptions,
    pub limits: Limits,
    /// Whether to end when what the topic held at the beginning is in the table.
    pub once: bool,
    /// Whether to go on behind messages that are gone from Kafka.
    pub accept_loss: bool,
}

/// When what has come is written, whichever is first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows_max: usize,
    /// Bytes of messages.
    pub bytes_max: u64,
    /// Age of the oldest message.
    pub interval: Duration,
    /// Connections that write side by side; each topic partition is written by one.
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
    counters: &Counters,
    health: &Health,
) -> Result<Consumed, Error> {
    let attempt = async |state: &AttemptState| {
        let consumer = Consumer::open(&consumption, counters, state).await?;
        health.well();
        consumer.run(&shutdown, state).await
    };
    if consumption.once {
        return attempt(&AttemptState::default()).await;
    }
    let failed = |why: &str| {
        health.ill(why);
        counters.retries.inc();
    };
    retry_transient(&shutdown, &failed, attempt).await
}

/// A consumption from a beginning to its end.
struct Consumer<'a> {
    consumption: &'a Consumption,
    counters: &'a Counters,
    connection: Connection,
    /// What the topic held at the beginning.
    extents: BTreeMap<i32, Extent>,
    stores: Vec<Store>,
    /// How far the topic is in the table.
    positions: Mutex<Positions>,
}

impl<'a> Consumer<'a> {
    async fn open(
        consumption: &'a Consumption,
        counters: &'a Counters,
        state: &AttemptState,
    ) -> Result<Self, Error> {
        let connection = Connection::open(consumption.kafka.clone(), "isobar-consume").await?;
        state.authenticated();
        let connect = async || Database::connect(&consumption.postgres, "isobar consume").await;
        let (topic, id) = (connection.topic(), connection.id());
        let (first, positions) = Store::open(connect().await?, topic, id).await?;
        // Asked once nobody else writes: another consumer may have gone on while this one waited for it to end.
        let extents = connection.extents().await?;
        let mut stores = vec![first];
        while stores.len() < consumption.limits.connections.min(extents.len()) {
            stores.push(Store::beside(connect().await?, topic).await?);
        }
        Ok(Self {
            consumption,
            counters,
            connection,
            extents,
            stores,
            positions: Mutex::new(positions),
        })
    }

    /// Reads from where the database says, and writes.
    async fn run(
        mut self,
        shutdown: &CancellationToken,
        state: &AttemptState,
    ) -> Result<Consumed, Error> {
        let stores = std::mem::take(&mut self.stores);
        let from = kafka::start(
            self.connection.topic(),
            &committed(&self.positions),
            &self.extents,
            self.consumption.accept_loss,
        )?;
        let until = self
            .extents
            .iter()
            .map(|(number, extent)| (*number, extent.high));
        let reading = Reading {
            until: self.consumption.once.then(|| until.collect()),
            from,
        };
        self.counters
            .behind(kafka::pending(&reading.from, &self.extents));
        info!(topic = self.connection.topic(), from = ?reading.from, "reading");
        // However this ends, the thread that reads ends too.
        let stop = shutdown.child_token();
        let _stop = stop.clone().drop_guard();
        let (senders, writers) = self.writers(stores, state);
        let reader = {
            let connection = self.connection.clone();
            tokio::task::spawn_blocking(move || {
                let mut judging = judge::Judging::default();
                let send = move |records| deal(judging.judge(&records), &senders);
                kafka::read(&connection, &reading, send, &stop)
            })
        };
        let writing = writers.into_iter().map(Writer::write);
        let watching = watch(&self.connection, &self.positions, self.counters);
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
            Err(Error::OffsetsGone { .. }) => {
                let (committed, accept_loss) =
                    (committed(&self.positions), self.consumption.accept_loss);
                Err(kafka::why_gone(&self.connection, &committed, accept_loss).await)
            }
            Err(error) => Err(error),
        }
    }

    /// A writer for each connection, and the channels to them.
    fn writers<'b>(
        &'b self,
        stores: Vec<Store>,
        state: &'b AttemptState,
    ) -> (Vec<mpsc::Sender<Judged>>, Vec<Writer<'b>>) {
        let (connection, positions) = (&self.connection, &self.positions);
        let (counters, limits) = (self.counters, self.consumption.limits);
        let writers = stores.into_iter().map(|store| {
            let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
            let writer = Writer {
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

/// Deals judged records out, each topic partition to the same writer always. False when nobody receives any more.
fn deal(judged: Judged, senders: &[mpsc::Sender<Judged>]) -> bool {
    let parts = judged.split(senders.len());
    let mut parts = parts.into_iter().zip(senders);
    parts.all(|(part, sender)| part.positions.is_empty() || sender.blocking_send(part).is_ok())
}

fn committed(positions: &Mutex<Positions>) -> Positions {
    let positions = positions.lock().unwrap_or_else(PoisonError::into_inner);
    positions.clone()
}

/// Looks whether the topic is still the same one, and counts what Kafka has and the table has not, until it is another one.
async fn watch(
    connection: &Connection,
    positions: &Mutex<Positions>,
    counters: &Counters,
) -> Error {
    loop {
        if let Err(error) = connection.refuse_recreated().await {
            return error;
        }
        // For those who watch: a failure is only noted.
        match connection.extents().await {
            Ok(extents) => {
                let positions = committed(positions);
                counters.reached(&positions);
                counters.behind(kafka::pending(&positions, &extents));
            }
            Err(error) => debug!(%error, "could not ask how far the topic goes"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Writes what comes of some topic partitions.
struct Writer<'a> {
    blocks: mpsc::Receiver<Judged>,
    store: Store,
    connection: &'a Connection,
    positions: &'a Mutex<Positions>,
    counters: &'a Counters,
    limits: Limits,
    state: &'a AttemptState,
    consumed: Consumed,
}

impl Writer<'_> {
    /// Writes until the reader has ended, and then what is in hand.
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

    /// Writes a batch in one transaction. Where PostgreSQL refuses a message in it, halves of it are
    /// written by themselves, down to that message, which becomes a dead letter.
    async fn commit(&mut self, batch: Batch) -> Result<(), Error> {
        // Asked last, so that nothing is written that may be of another topic.
        self.connection.refuse_recreated().await?;
        // What comes first is taken first: positions only grow.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let written = match self.store.write(&part).await {
                Err(Error::Postgres { source, .. }) if is_of_data(&source) && part.count() > 0 => {
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
            self.counters.wrote(&written, &part.newest());
            self.consumed += written;
            let mut positions = self
                .positions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            positions.extend(part.positions);
        }
        self.connection.display(&committed(self.positions));
        Ok(())
    }
}
