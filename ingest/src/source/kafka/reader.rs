//! The thread that reads records and sends them on in blocks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use engine::fail;
use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Connection;
use crate::error::Error;
use crate::source::{Gathered, Positions, Records};

/// How long a record waits for others to be decoded with.
const LINGER: Duration = Duration::from_millis(100);
/// A landing that is to end gives up when it heard nothing for this long.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The first record to read of each topic partition.
    pub(crate) from: Positions,
    /// Where to end, if it is to end: before these offsets.
    pub(crate) until: Option<Positions>,
}

/// Reads until all is read that was to be, `stop` is cancelled, or `send` says that nobody receives any more. It blocks.
///
/// # Errors
/// When records are gone that were to be read, or Kafka refuses.
pub(crate) fn read(
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
    let mut missing = Missing::new(reading);
    let mut block = Lingering::new(reading.from.clone());
    let mut ends_seen = false;
    let mut silence = Silence::default();
    while !stop.is_cancelled() && !missing.is_empty() {
        // As long as records are there at once, nobody looks at the clock.
        let mut polled = connection.consumer.poll(Duration::ZERO);
        let at_once = polled.is_some();
        if !at_once {
            if std::mem::take(&mut ends_seen) {
                pass_markers(connection, reading, &mut block);
            }
            polled = connection.consumer.poll(block.patience());
        }
        let silent = silence.hear(polled.as_ref(), Instant::now);
        match polled {
            Some(Ok(message)) if missing.take(message.partition(), message.offset()) => {
                block.push(&message);
                fail::point("kafka.polled");
            }
            // Nothing came, or what came after the end.
            None | Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                missing.end(partition);
                ends_seen = true;
            }
            Some(Err(error)) => tolerate(connection, reading, error)?,
        }
        if reading.until.is_some() && silent > SILENCE_MAX {
            return Err(connection.failed(
                "read",
                KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut),
            ));
        }
        let is_due = block.gathered.is_full() || !at_once && block.has_waited();
        if is_due && !send(block.seal()) {
            return Ok(());
        }
    }
    if ends_seen {
        pass_markers(connection, reading, &mut block);
    }
    if !block.gathered.is_empty() {
        send(block.seal());
    }
    let unassigned = connection.consumer.unassign();
    unassigned.map_err(|source| connection.failed("read", source))
}

/// Moves positions on to where the library is, after ends of topic partitions were seen: the last offsets may be markers of
/// transactions, which no consumer is given.
fn pass_markers(connection: &Connection, reading: &Reading, block: &mut Lingering) {
    // The library knows it without asking anybody; should it not answer, it is asked at the next end.
    let Ok(positions) = connection.consumer.position() else {
        return;
    };
    for position in positions.elements() {
        let Offset::Offset(next) = position.offset() else {
            continue;
        };
        // What came after the end that is asked for was not taken.
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

/// Lets pass what librdkafka mends by itself: brokers that are away. Brokers that refuse us let us in before, and may do so
/// again, but nobody who waits for the end is to wait for that.
fn tolerate(connection: &Connection, reading: &Reading, error: KafkaError) -> Result<(), Error> {
    let passing = match error.rdkafka_error_code() {
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
    if passing {
        let trouble = connection.consumer.context().trouble();
        let said = trouble.map(|trouble| trouble.words().to_string());
        warn!(%error, said, topic = connection.topic(), "waiting for Kafka");
        return Ok(());
    }
    match error.rdkafka_error_code() {
        // The landing finds out whether they are lost or the topic is another one.
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
            Err(Error::OffsetsGone {
                topic: connection.topic().to_owned(),
            })
        }
        _ => Err(connection.failed("read", error)),
    }
}

/// The topic partitions that have not been read to where they are to be.
struct Missing {
    until: Option<Positions>,
    open: BTreeSet<i32>,
}

impl Missing {
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

    /// Whether this record was to be read.
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

    /// The partition has no more records now; its last offsets may be markers, which nobody sees.
    fn end(&mut self, partition: i32) {
        if self.until.is_some() {
            self.open.remove(&partition);
        }
    }
}

/// Since when nothing of the topic was heard. That brokers are away, which librdkafka says again and again, is nothing.
#[derive(Default)]
struct Silence(Option<Instant>);

impl Silence {
    /// How long it has lasted after this answer. The clock is asked when it lasts.
    fn hear<T>(
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

/// Records on their way into a block, which waits for more of them for a moment.
struct Lingering {
    gathered: Gathered,
    since: Option<Instant>,
    /// Where the source goes on after all blocks before.
    reached: Positions,
}

impl Lingering {
    fn new(from: Positions) -> Self {
        Self {
            gathered: Gathered::new("kafka"),
            since: None,
            reached: from,
        }
    }

    /// Says that there is nothing to take before `next`.
    fn advance(&mut self, partition: i32, next: i64) {
        let reached = self.gathered.reached(partition);
        let reached = reached.or_else(|| self.reached.get(&partition).copied());
        if reached.is_none_or(|reached| reached < next) {
            self.gathered.reach(partition, next);
            self.since.get_or_insert_with(Instant::now);
        }
    }

    fn push(&mut self, message: &BorrowedMessage<'_>) {
        let (partition, offset) = (message.partition(), message.offset());
        self.gathered.push(
            (partition, offset),
            message.timestamp().to_millis(),
            message.key(),
            message.payload(),
        );
        self.gathered.reach(partition, offset + 1);
        self.since.get_or_insert_with(Instant::now);
    }

    fn has_waited(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= LINGER)
    }

    /// How long to wait for the next record.
    fn patience(&self) -> Duration {
        self.since
            .map_or(LINGER, |since| LINGER.saturating_sub(since.elapsed()))
    }

    fn seal(&mut self) -> Records {
        self.since = None;
        let sealed = self.gathered.seal();
        self.reached.extend(&sealed.positions);
        sealed
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    use super::{Lingering, Missing, Reading, Silence};

    #[test]
    fn a_position_passes_what_no_consumer_is_given_once() {
        let mut block = Lingering::new([(0, 5)].into());
        block.advance(0, 5);
        assert!(block.gathered.is_empty(), "it stands there already");
        block.advance(0, 7);
        assert_eq!(block.seal().positions, [(0, 7)].into());
        block.advance(0, 7);
        block.advance(0, 6);
        assert!(block.gathered.is_empty());
        block.advance(1, 0);
        assert_eq!(
            block.seal().positions,
            [(1, 0)].into(),
            "nothing was known of it"
        );
    }

    #[test]
    fn brokers_that_are_said_to_be_away_do_not_end_the_silence() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        let mut check = |polled: Option<Result<(), KafkaError>>, at_s, expected_s| {
            let now = || begin + Duration::from_secs(at_s);
            let silent = silence.hear(polled.as_ref(), now);
            assert_eq!(silent, Duration::from_secs(expected_s), "{polled:?}");
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
    fn a_landing_ends_where_the_topic_ended_when_it_began() {
        let reading = Reading {
            from: [(0, 5), (1, 7), (2, 0)].into(),
            until: Some([(0, 8), (1, 7), (2, 3)].into()),
        };
        let mut missing = Missing::new(&reading);
        assert_eq!(missing.open, [0, 2].into(), "1 has nothing more");
        assert!(missing.take(0, 5) && missing.take(0, 7));
        assert_eq!(missing.open, [2].into());
        assert!(!missing.take(0, 8), "it came later");
        missing.end(2); // 1 and 2 are the markers of a transaction
        assert!(missing.is_empty());

        let reading = Reading {
            until: None,
            ..reading
        };
        let mut endless = Missing::new(&reading);
        assert!(endless.take(0, 100));
        endless.end(0);
        assert_eq!(endless.open, [0, 1, 2].into());
    }
}
