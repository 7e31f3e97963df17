//! The thread that reads records, and sends them in blocks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use service::fail;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Connection;
use crate::error::Error;
use crate::records::{Positions, Records, RecordsBuilder};

/// How long a record waits for others of the same block.
const LINGER: Duration = Duration::from_millis(100);
/// A bounded reading fails when it receives nothing for this long.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The offsets to read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The first record to read of each topic partition.
    pub from: Positions,
    /// Reading ends before these offsets; none reads until `stop`.
    pub until: Option<Positions>,
}

/// Reads until `reading` is complete, `stop` is cancelled, or `send` returns that the channel is
/// closed. It blocks.
///
/// # Errors
/// When Kafka no longer holds a record to read, or returns an error that is not transient.
pub fn read(
    connection: &Connection,
    reading: &Reading,
    mut send: impl FnMut(Records) -> bool,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in &reading.from {
        list.add_partition_offset(connection.topic(), *partition, Offset::Offset(*offset))
            .map_err(|source| connection.failed("read", source))?;
    }
    let assigned = connection.consumer.assign(&list);
    assigned.map_err(|source| connection.failed("read", source))?;
    let mut partitions = OpenPartitions::new(reading);
    let mut block = Lingering::new(reading.from.clone());
    let mut ends_seen = false;
    let mut idle = IdleTime::default();
    while !stop.is_cancelled() && !partitions.is_empty() {
        // While records are available at once, the loop does not read the clock.
        let mut polled = connection.consumer.poll(Duration::ZERO);
        let at_once = polled.is_some();
        if !at_once {
            if std::mem::take(&mut ends_seen) {
                pass_markers(connection, reading, &mut block);
            }
            polled = connection.consumer.poll(block.poll_timeout());
        }
        let idle_time = idle.after(polled.as_ref(), Instant::now);
        match polled {
            Some(Ok(message)) if partitions.take(message.partition(), message.offset()) => {
                block.push(&message);
                fail::point("kafka.polled");
            }
            // No record, or one after the end.
            None | Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                partitions.end(partition);
                ends_seen = true;
            }
            Some(Err(error)) => retry_or_fail(connection, reading, error)?,
        }
        if reading.until.is_some() && idle_time > IDLE_MAX {
            return Err(connection.failed(
                "read",
                KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut),
            ));
        }
        let is_due = block.builder.is_full() || !at_once && block.has_waited();
        if is_due && !send(block.seal()) {
            return Ok(());
        }
    }
    if ends_seen {
        pass_markers(connection, reading, &mut block);
    }
    if !block.builder.is_empty() {
        send(block.seal());
    }
    let unassigned = connection.consumer.unassign();
    unassigned.map_err(|source| connection.failed("read", source))
}

/// Moves positions to those of librdkafka, after it has reported the end of topic partitions: the
/// last offsets may be transaction markers, which a consumer never receives.
fn pass_markers(connection: &Connection, reading: &Reading, block: &mut Lingering) {
    // Sends no request; if it fails, the next end of a partition repeats it.
    let Ok(positions) = connection.consumer.position() else {
        return;
    };
    for position in positions.elements() {
        let Offset::Offset(next) = position.offset() else {
            continue;
        };
        // Records after the requested end were not read.
        let until = reading.until.as_ref();
        let until = until.map_or(i64::MAX, |until| {
            until
                .get(&position.partition())
                .copied()
                .unwrap_or_default()
        });
        block.advance(position.partition(), next.min(until));
    }
}

/// Ignores errors that librdkafka retries itself: unavailable brokers. A refused login counts as
/// such an error only for an unbounded reading: the brokers accepted it before, and may do so
/// again.
fn retry_or_fail(
    connection: &Connection,
    reading: &Reading,
    error: KafkaError,
) -> Result<(), Error> {
    let is_transient = match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::NotCoordinator,
        ) => true,
        Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => reading.until.is_none(),
        _ => false,
    };
    if is_transient {
        let failure = connection.consumer.context().failure();
        let reason = failure.map(|failure| failure.message().to_string());
        warn!(%error, reason, topic = connection.topic(), "waiting for Kafka");
        return Ok(());
    }
    match error.rdkafka_error_code() {
        // The landing finds out whether the messages are lost, or the topic was recreated.
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
            Err(Error::OffsetsOutOfRange {
                topic: connection.topic().to_owned(),
            })
        }
        _ => Err(connection.failed("read", error)),
    }
}

/// The topic partitions that are not read to their end yet.
struct OpenPartitions {
    until: Option<Positions>,
    open: BTreeSet<i32>,
}

impl OpenPartitions {
    fn new(reading: &Reading) -> Self {
        let open = reading.from.iter().filter(|(partition, from)| {
            let until = reading.until.as_ref();
            until.is_none_or(|until| until.get(partition).is_some_and(|until| *from < until))
        });
        Self {
            open: open.map(|(partition, _)| *partition).collect(),
            until: reading.until.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether this record is to be read.
    fn take(&mut self, partition: i32, offset: i64) -> bool {
        let Some(until) = &self.until else {
            return true;
        };
        let until = until.get(&partition).copied().unwrap_or_default();
        if offset + 1 >= until {
            self.open.remove(&partition);
        }
        offset < until
    }

    /// Notes the end of a partition, whose last offsets may be transaction markers.
    fn end(&mut self, partition: i32) {
        if self.until.is_some() {
            self.open.remove(&partition);
        }
    }
}

/// Time since the last record or end of a partition. Errors about unavailable brokers, which
/// librdkafka repeats, do not count.
#[derive(Default)]
struct IdleTime(Option<Instant>);

impl IdleTime {
    /// The idle time after this poll. Reads the clock only while the partition is idle.
    fn after<T>(
        &mut self,
        polled: Option<&Result<T, KafkaError>>,
        now: impl FnOnce() -> Instant,
    ) -> Duration {
        match polled {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {
                self.0 = None;
                Duration::ZERO
            }
            None | Some(Err(_)) => {
                let now = now();
                now.duration_since(*self.0.get_or_insert(now))
            }
        }
    }
}

/// The block that is being filled, which lingers for more records.
struct Lingering {
    builder: RecordsBuilder,
    since: Option<Instant>,
    /// Positions after all blocks before.
    positions: Positions,
}

impl Lingering {
    fn new(from: Positions) -> Self {
        Self {
            builder: RecordsBuilder::new("kafka"),
            since: None,
            positions: from,
        }
    }

    /// Moves the position to `next`, because there is no record before it.
    fn advance(&mut self, partition: i32, next: i64) {
        let position = self.builder.position(partition);
        let position = position.or_else(|| self.positions.get(&partition).copied());
        if position.is_none_or(|position| position < next) {
            self.builder.set_position(partition, next);
            self.since.get_or_insert_with(Instant::now);
        }
    }

    fn push(&mut self, message: &BorrowedMessage<'_>) {
        let (partition, offset) = (message.partition(), message.offset());
        self.builder.push(
            (partition, offset),
            message.timestamp().to_millis(),
            message.key(),
            message.payload(),
        );
        self.builder.set_position(partition, offset + 1);
        self.since.get_or_insert_with(Instant::now);
    }

    fn has_waited(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= LINGER)
    }

    /// How long to wait for the next record.
    fn poll_timeout(&self) -> Duration {
        self.since
            .map_or(LINGER, |since| LINGER.saturating_sub(since.elapsed()))
    }

    fn seal(&mut self) -> Records {
        self.since = None;
        let sealed = self.builder.seal();
        self.positions.extend(&sealed.positions);
        sealed
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    use super::{IdleTime, Lingering, OpenPartitions, Reading};

    #[test]
    fn position_passes_transaction_markers_once() {
        let mut block = Lingering::new([(0, 5)].into());
        block.advance(0, 5);
        assert!(block.builder.is_empty(), "it stands there already");
        block.advance(0, 7);
        assert_eq!(block.seal().positions, [(0, 7)].into());
        block.advance(0, 7);
        block.advance(0, 6);
        assert!(block.builder.is_empty());
        block.advance(1, 0);
        assert_eq!(
            block.seal().positions,
            [(1, 0)].into(),
            "nothing was known of it"
        );
    }

    #[test]
    fn errors_of_unavailable_brokers_do_not_end_the_idle_time() {
        let begin = Instant::now();
        let mut idle = IdleTime::default();
        let mut check = |polled: Option<Result<(), KafkaError>>, at_s, expected_s| {
            let now = || begin + Duration::from_secs(at_s);
            let idle_time = idle.after(polled.as_ref(), now);
            assert_eq!(idle_time, Duration::from_secs(expected_s), "{polled:?}");
        };
        let away = |code| Some(Err(KafkaError::MessageConsumption(code)));
        check(None, 0, 0);
        check(away(RDKafkaErrorCode::AllBrokersDown), 5, 5);
        check(away(RDKafkaErrorCode::BrokerTransportFailure), 15, 15);
        check(None, 61, 61);
        check(Some(Ok(())), 62, 0);
        check(away(RDKafkaErrorCode::AllBrokersDown), 70, 0);
        check(None, 72, 2);
        check(Some(Err(KafkaError::PartitionEOF(0))), 80, 0);
        check(None, 81, 0);
    }

    #[test]
    fn bounded_reading_ends_at_the_offsets_of_its_start() {
        let reading = Reading {
            from: [(0, 5), (1, 7), (2, 0)].into(),
            until: Some([(0, 8), (1, 7), (2, 3)].into()),
        };
        let mut partitions = OpenPartitions::new(&reading);
        assert_eq!(partitions.open, [0, 2].into(), "1 has nothing more");
        assert!(partitions.take(0, 5) && partitions.take(0, 7));
        assert_eq!(partitions.open, [2].into());
        assert!(!partitions.take(0, 8), "it came later");
        partitions.end(2); // 1 and 2 are the markers of a transaction
        assert!(partitions.is_empty());

        let reading = Reading {
            until: None,
            ..reading
        };
        let mut endless = OpenPartitions::new(&reading);
        assert!(endless.take(0, 100));
        endless.end(0);
        assert_eq!(endless.open, [0, 1, 2].into());
    }
}
