//! Sends messages from the spool to Kafka, oldest first, and removes them when Kafka has confirmed
//! them.

use std::time::Duration;

use connections::kafka::Context;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::error_chain;
use service::retry::Retryable as _;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::spool::{Outgoing, Spool, SpooledMessage};
use super::status::Status;
use super::topic::Topic;
use crate::error::Error;

/// Messages of one batch.
const BATCH_MAX: usize = 500;
/// Kafka counts as unavailable when it has confirmed nothing for this long.
const UNAVAILABLE_AFTER: Duration = Duration::from_secs(5);
/// How often sending checks whether Kafka is unavailable, and whether the service is ending.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Pauses before a new connection, from the first to the longest.
const PAUSES_S: [u64; 3] = [1, 2, 5];

/// Sends the messages of the spool until it is closed and empty. Retries while Kafka is
/// unavailable, until `ending` is cancelled: the messages stay in the spool.
///
/// # Errors
/// Until the first message is delivered, errors that are not transient: a topic that cannot be
/// created, brokers that refuse the login.
pub(super) async fn deliver(
    spool: &Spool,
    topic: &Topic,
    status: &Status,
    ending: &CancellationToken,
) -> Result<(), Error> {
    let mut pauses = PAUSES_S.into_iter();
    loop {
        let before = status.delivered();
        let error = match Box::pin(connect_and_send(spool, topic, status, ending)).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let is_mistake = error.is_refusal() || matches!(error, Error::CreateTopic { .. });
        if status.delivered() == 0 && is_mistake {
            return Err(error);
        }
        if status.delivered() > before {
            pauses = PAUSES_S.into_iter();
        }
        let pause = pauses.next().unwrap_or(PAUSES_S[PAUSES_S.len() - 1]);
        report_unavailable(spool, status, &error);
        tokio::select! {
            () = ending.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(pause)) => {}
        }
    }
}

/// The same over one connection, until the first failure.
pub(super) async fn connect_and_send(
    spool: &Spool,
    topic: &Topic,
    status: &Status,
    ending: &CancellationToken,
) -> Result<(), Error> {
    let opened = tokio::select! {
        opened = ProducerConnection::open(topic) => opened?,
        () = ending.cancelled(), if status.is_kafka_unavailable() => return Ok(()),
        () = spool.finished() => return Ok(()),
    };
    let mut batch_max = BATCH_MAX;
    while let Some(batch) = spool.batch(batch_max).await {
        match opened.send(spool, status, &batch, ending).await? {
            BatchOutcome::All => batch_max = BATCH_MAX,
            // Brokers refuse a batch as a whole. BatchOutcome one by one, the refused message is
            // known.
            BatchOutcome::Refused => batch_max = 1,
            BatchOutcome::Interrupted => return Ok(()),
        }
    }
    Ok(())
}

fn report_unavailable(spool: &Spool, status: &Status, error: &Error) {
    if status.set_kafka_unavailable(error_chain(error)) {
        let (waiting, spool) = (spool.waiting(), spool.directory().display());
        let error = error_chain(error);
        warn!(error, waiting, %spool, "no messages can be sent; they wait in the spool");
    }
}

/// The result of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchOutcome {
    All,
    /// Kafka refused some messages permanently.
    Refused,
    /// The service is shutting down, and Kafka is unavailable.
    Interrupted,
}

struct ProducerConnection<'a> {
    topic: &'a Topic,
    producer: FutureProducer<Context>,
    context: Context,
}

impl<'a> ProducerConnection<'a> {
    async fn open(topic: &'a Topic) -> Result<Self, Error> {
        let context = Context::default();
        let mut client: ClientConfig = topic.client();
        client
            // Brokers recognise a message that is sent twice, and keep the order of the first
            // sending.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // No time limit: a message that is given up and sent again could be stored twice.
            .set("message.timeout.ms", "0")
            .set("compression.type", topic.compression)
            // The partitioner of the clients in other languages.
            .set("partitioner", "murmur2_random");
        let producer = client
            .create_with_context(context.clone())
            .map_err(|source| topic.kafka.client_error(source))?;
        topic.ensure(&producer, &context).await?;
        Ok(Self {
            topic,
            producer,
            context,
        })
    }

    /// Sends a batch, and waits until Kafka has confirmed or refused each message: one that is
    /// still in flight must not be sent again.
    async fn send(
        &self,
        spool: &Spool,
        status: &Status,
        batch: &[SpooledMessage],
        ending: &CancellationToken,
    ) -> Result<BatchOutcome, Error> {
        let mut sending: FuturesUnordered<_> = load(spool, batch)
            .await?
            .into_iter()
            .map(|(waiting, message)| async move { (waiting, self.send_one(message).await) })
            .collect();
        let (mut last_response, mut sent, mut failed) = (Instant::now(), BatchOutcome::All, None);
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = sending.next() => match done {
                    None => return failed.map_or(Ok(sent), |error| Err(self.failed(error))),
                    Some((waiting, Ok(()))) => {
                        last_response = Instant::now();
                        self.context.clear_failure();
                        spool.remove(waiting);
                        if status.message_delivered() {
                            info!(waiting = spool.waiting(), "messages are sent");
                        }
                    }
                    Some((waiting, Err(error))) if is_refusal(&error) => {
                        sent = BatchOutcome::Refused;
                        if batch.len() == 1 {
                            drop_refused(spool, status, waiting, &error);
                        }
                    }
                    Some((_, Err(error))) => failed = Some(error),
                },
                _ = check.tick() => {
                    if last_response.elapsed() >= UNAVAILABLE_AFTER {
                        report_unavailable(spool, status, &self.no_response_error());
                    }
                    if ending.is_cancelled() && status.is_kafka_unavailable() {
                        return Ok(BatchOutcome::Interrupted);
                    }
                }
            }
        }
    }

    async fn send_one(&self, message: Outgoing) -> Result<(), KafkaError> {
        let key = message.city_id.to_string();
        let record = FutureRecord::to(&self.topic.kafka.topic)
            .key(&key)
            .payload(&message.value[..])
            .timestamp(message.event_time_ms);
        let sending = self
            .producer
            .send_result(record)
            .map_err(|(error, _)| error)?;
        match sending.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_canceled) => Err(KafkaError::Canceled),
        }
    }

    fn no_response_error(&self) -> Error {
        let unanswered = Error::Unanswered {
            limit: UNAVAILABLE_AFTER,
        };
        let refused = self.context.refusal(&self.topic.kafka);
        refused.map_or(unanswered, Error::Connections)
    }

    fn failed(&self, source: KafkaError) -> Error {
        Error::Send {
            topic: self.topic.kafka.topic.clone(),
            source,
        }
    }
}

/// The messages of a batch, without those whose files were removed.
async fn load<'a>(
    spool: &Spool,
    batch: &'a [SpooledMessage],
) -> Result<Vec<(&'a SpooledMessage, Outgoing)>, Error> {
    let mut loaded = Vec::new();
    for waiting in batch {
        match spool.load(waiting).await? {
            Some(message) => loaded.push((waiting, message)),
            None => {
                let city_id = waiting.city_id;
                warn!(city_id, "a message was removed from the spool");
                spool.remove(waiting);
            }
        }
    }
    Ok(loaded)
}

/// Drops a message that Kafka will never accept, so that it does not block those behind it.
fn drop_refused(spool: &Spool, status: &Status, waiting: &SpooledMessage, error: &KafkaError) {
    let (city_id, bytes) = (waiting.city_id, waiting.bytes);
    error!(%error, city_id, bytes, "Kafka refused a message for good; it is lost");
    status.message_refused();
    spool.remove(waiting);
}

/// Whether Kafka refuses the message itself.
fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
        )
    )
}
