//! Consuming: messages of a Kafka topic become rows of table `weather` in PostgreSQL, each exactly once, and how far the
//! topic was read stands beside them.
//!
//! A thread reads and judges, and this task writes: one transaction a batch. Everything that decides anything is
//! in the database, so that each beginning is the same, the first as well as the one after a crash.

mod batch;
mod counters;
mod judge;
mod store;

use std::collections::BTreeMap;
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
use crate::outlive::{Moved, outlive};
use crate::postgres::{Database, PostgresOptions, is_of_data};
use crate::source::kafka::{self, Connection, Extent, KafkaOptions, Reading};

/// Blocks of judged records that wait for the writer.
const BLOCKS_MAX: usize = 2;

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

/// Consumes a topic until its rows are there, or for ever; `shutdown` writes what is in hand and ends it.
///
/// One for ever outlives a database or brokers that are away.
///
/// # Errors
/// When there is no such topic, it is another one than before, messages are gone from it, or the database
/// lets us not in. Of one that is to end also when the database or Kafka fails.
pub async fn consume(
    consumption: Consumption,
    shutdown: CancellationToken,
    counters: &Counters,
    health: &Health,
) -> Result<Consumed, Error> {
    let attempt = async |moved: &Moved| {
        let mut consumer = Consumer::open(&consumption, counters).await?;
        health.well();
        consumer.run(&shutdown, moved).await
    };
    if consumption.once {
        return attempt(&Moved::default()).await;
    }
    let failed = |why: &str| {
        health.ill(why);
        counters.retries.inc();
    };
    outlive(&shutdown, &failed, attempt).await
}

/// A consumption from a beginning to its end.
struct Consumer<'a> {
    consumption: &'a Consumption,
    counters: &'a Counters,
    connection: Connection,
    /// What the topic held at the beginning.
    extents: BTreeMap<i32, Extent>,
    store: Store,
    consumed: Consumed,
}

impl<'a> Consumer<'a> {
    async fn open(consumption: &'a Consumption, counters: &'a Counters) -> Result<Self, Error> {
        let connection = Connection::open(consumption.kafka.clone(), "isobar-consume").await?;
        let extents = connection.extents().await?;
        let database = Database::connect(&consumption.postgres, "isobar consume").await?;
        let store = Store::open(database, connection.topic(), connection.id()).await?;
        Ok(Self {
            consumption,
            counters,
            connection,
            extents,
            store,
            consumed: Consumed::default(),
        })
    }

    /// Reads from where the database says, and writes.
    async fn run(
        &mut self,
        shutdown: &CancellationToken,
        moved: &Moved,
    ) -> Result<Consumed, Error> {
        let from = kafka::start(
            self.connection.topic(),
            &self.store.positions,
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
        let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
        // However this ends, the thread that reads ends too.
        let stop = shutdown.child_token();
        let _stop = stop.clone().drop_guard();
        let reader = {
            let connection = self.connection.clone();
            tokio::task::spawn_blocking(move || {
                let mut judging = judge::Judging::default();
                let send = move |records| sender.blocking_send(judging.judge(&records)).is_ok();
                kafka::read(&connection, &reading, send, &stop)
            })
        };
        self.write(blocks, moved).await?;
        match reader.await.map_err(Error::Task)? {
            Ok(()) => Ok(self.consumed),
            Err(Error::OffsetsGone { .. }) => {
                Err(kafka::why_gone(&self.connection, &self.store.positions).await)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what comes until the reader has ended, and then what is in hand.
    async fn write(
        &mut self,
        mut blocks: mpsc::Receiver<Judged>,
        moved: &Moved,
    ) -> Result<(), Error> {
        let limits = self.consumption.limits;
        let mut batch = Batch::default();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            let since = batch.since.unwrap_or_else(Instant::now);
            tokio::select! {
                block = blocks.recv() => match block {
                    Some(block) => batch.push(block),
                    None => break,
                },
                () = tokio::time::sleep_until((since + limits.interval).into()), if !batch.is_empty() => {
                    self.commit(std::mem::take(&mut batch), moved).await?;
                }
                _ = look.tick() => {
                    self.connection.refuse_recreated().await?;
                    self.look_behind().await;
                }
            }
            if batch.count() >= limits.rows_max || batch.bytes >= limits.bytes_max {
                self.commit(std::mem::take(&mut batch), moved).await?;
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.commit(batch, moved).await
    }

    /// Writes a batch in one transaction. Where PostgreSQL refuses a message in it, halves of it are
    /// written by themselves, down to that message, which becomes a dead letter.
    async fn commit(&mut self, batch: Batch, moved: &Moved) -> Result<(), Error> {
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
            moved.note();
            self.counters.wrote(&written, part.newest());
            self.consumed += written;
        }
        self.connection.display(&self.store.positions);
        Ok(())
    }

    /// Counts what Kafka has and the table has not. For those who watch: a failure is only noted.
    async fn look_behind(&self) {
        match self.connection.extents().await {
            Ok(extents) => self
                .counters
                .behind(kafka::pending(&self.store.positions, &extents)),
            Err(error) => debug!(%error, "could not ask how far the topic goes"),
        }
    }
}
