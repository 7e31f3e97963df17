//! Validates dead letters again: decodes their bytes by the present declarations.
//!
//! A dead letter from an export file holds its whole line. One from a Kafka record or a row of
//! PostgreSQL holds the value only, so the validator reads the record or the row again for its time
//! and its key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{BufMut as _, BytesMut};
use chrono::Utc;
use connections::kafka::{self, Connection, KafkaOptions, Watermarks};
use connections::postgres::PostgresOptions;
use connections::records::{Offsets, Record, Records};
use lake::Table;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::{self, DeadLetter, NewDeadLetter};
use crate::declaration::TopicDeclaration;
use crate::error::Error;
use crate::land::commit::tables::{halves, recorded_id};
use crate::land::decode::{self, Decoded};
use crate::land::transform::Transform;
use crate::message::Decoder;
use crate::source::files::{Content, LineBlock};
use crate::source::postgres;

/// Reason of messages without a time in Kafka, of which `consume` makes no rows.
const NO_TIME: &str = "unreadable_event_time";
/// Reason of messages of which only the beginning is kept.
const CUT: &str = "message_too_long";

/// The result for one dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// The message is well-formed, whether it makes rows or not.
    WellFormed,
    Malformed,
    /// Validation needs what its source no longer holds; the text says what.
    Unknown(String),
}

/// The result for a chunk of dead letters.
#[derive(Debug)]
pub(super) struct ValidatedChunk {
    /// In the order of the dead letters.
    pub(super) validity: Vec<Validity>,
    /// Rows by table, of messages with different identities in each list.
    pub(super) rows: Vec<Vec<Vec<RecordBatch>>>,
}

/// Validates dead letters of one topic.
pub(super) struct DeadLetterValidator {
    topic: Arc<TopicDeclaration>,
    transform: Transform,
    sources: ReplaySources,
    /// Id of the topic that the dead letters belong to.
    recorded: Option<[i64; 2]>,
    /// Connected when the first dead letter needs it.
    kafka: Option<Kafka>,
    /// Likewise.
    postgres: Option<postgres::Table>,
}

/// The sources from which a replay reads records and rows again.
#[derive(Clone, Debug)]
pub struct ReplaySources {
    /// Brokers, and the topic that is replayed.
    pub kafka: KafkaOptions,
    /// Server, database and login.
    pub postgres: PostgresOptions,
}

/// The topic as Kafka has it.
enum Kafka {
    There {
        connection: Connection,
        watermarks: BTreeMap<i32, Watermarks>,
    },
    /// It is not the topic of the dead letters; the text says why.
    Another(&'static str),
}

/// Results so far, by index of the dead letter.
type Validities = HashMap<usize, Validity>;

impl DeadLetterValidator {
    pub(super) async fn new(
        topic: &Arc<TopicDeclaration>,
        sources: &ReplaySources,
        dead_letters: &Table,
    ) -> Result<Self, Error> {
        Ok(Self {
            topic: Arc::clone(topic),
            transform: Transform::new(topic).await?,
            sources: sources.clone(),
            recorded: recorded_id(dead_letters.snapshot(), &topic.name).await?,
            kafka: None,
            postgres: None,
        })
    }

    pub(super) async fn validate(
        &mut self,
        dead_letters: &[&DeadLetter],
    ) -> Result<ValidatedChunk, Error> {
        let mut found = Validities::new();
        let (mut lines, mut records, mut table_rows) = (Vec::new(), Vec::new(), Vec::new());
        for (index, dead_letter) in dead_letters.iter().enumerate() {
            match dead_letter.source.as_str() {
                "files" if is_line(dead_letter) => lines.push((index, *dead_letter)),
                "kafka" if self.may_be_message(dead_letter) => records.push((index, *dead_letter)),
                "postgres" if dead_letter.reason != NO_TIME && self.may_be_message(dead_letter) => {
                    table_rows.push((index, *dead_letter))
                }
                "files" | "kafka" | "postgres" => {
                    found.insert(index, Validity::Malformed);
                }
                other => {
                    let why = format!("dead letters of source \"{other}\" cannot be replayed");
                    found.insert(index, Validity::Unknown(why));
                }
            }
        }
        let mut rows = Vec::new();
        while !lines.is_empty() {
            rows.push(self.validate_lines(&mut lines, &mut found).await?);
        }
        if !records.is_empty() {
            let reread = self.read_kafka(offsets_of(&records)).await?;
            rows.extend(
                self.validate_records("Kafka", reread, &records, &mut found)
                    .await?,
            );
        }
        if !table_rows.is_empty() {
            let reread = Ok(self.read_postgres(&offsets_of(&table_rows)).await?);
            let validated = self.validate_records("PostgreSQL", reread, &table_rows, &mut found);
            rows.extend(validated.await?);
        }
        let validity = (0..dead_letters.len()).map(|index| {
            let validity = found.remove(&index);
            validity.expect("every dead letter is validated by its source")
        });
        Ok(ValidatedChunk {
            validity: validity.collect(),
            rows,
        })
    }

    /// Whether the value is well-formed, so that it pays to read the record again.
    fn may_be_message(&self, dead_letter: &DeadLetter) -> bool {
        let mut decoder = Decoder::new(&self.topic.shape);
        dead_letter.reason != CUT && decoder.push(&dead_letter.value).is_ok()
    }

    /// Validates lines. A block decodes each identity once, so a line with the identity of an
    /// earlier line stays in the list for the next call: it may be the well-formed one.
    async fn validate_lines(
        &self,
        lines: &mut Vec<(usize, &DeadLetter)>,
        found: &mut Validities,
    ) -> Result<Vec<Vec<RecordBatch>>, Error> {
        let decoded = decode::lines::decode(&self.topic, block(lines), Utc::now());
        let decoded = decoded.map_err(|source| encode_failed(source.into()))?;
        let index_of = |line: i64| usize::try_from(line).unwrap_or_default();
        let kept: HashSet<usize> = decoded.lines().map(index_of).collect();
        let (rows, refused) = self.rows(&decoded).await;
        let refused: HashSet<usize> = decoded
            .refused
            .iter()
            .chain(&refused)
            .filter_map(|dead_letter| dead_letter.place.as_ref())
            .map(|(_, line)| index_of(*line))
            .collect();
        let mut rest = Vec::new();
        for (line, (index, dead_letter)) in std::mem::take(lines).into_iter().enumerate() {
            if refused.contains(&line) {
                found.insert(index, Validity::Malformed);
            } else if kept.contains(&line) {
                found.insert(index, Validity::WellFormed);
            } else {
                rest.push((index, dead_letter));
            }
        }
        *lines = rest;
        Ok(rows)
    }

    /// Validates dead letters by the records that `holder` still has, or records why it has none.
    async fn validate_records(
        &self,
        holder: &str,
        reread: Result<Records, &'static str>,
        dead_letters: &[(usize, &DeadLetter)],
        found: &mut Validities,
    ) -> Result<Option<Vec<Vec<RecordBatch>>>, Error> {
        let records = match reread {
            Ok(records) => records,
            Err(why) => {
                let unknown =
                    |(index, _): &(usize, &DeadLetter)| (*index, Validity::Unknown(why.to_owned()));
                found.extend(dead_letters.iter().map(unknown));
                return Ok(None);
            }
        };
        let by_identity: HashMap<_, Record> = records
            .list
            .iter()
            .map(|record| ((record.partition, record.offset), record.clone()))
            .collect();
        let mut same = HashMap::new();
        for (index, dead_letter) in dead_letters {
            let record = dead_letter
                .identity
                .and_then(|identity| by_identity.get(&identity));
            let value = |record: &Record| {
                let value = record.value.clone().unwrap_or_default();
                records.bytes.slice(value)
            };
            match record {
                None => {
                    let why = format!(
                        "{holder} does not hold the message any more, and with it its time"
                    );
                    found.insert(*index, Validity::Unknown(why));
                }
                Some(record) if value(record) != dead_letter.value => {
                    let why = format!("{holder} holds another message at this offset");
                    found.insert(*index, Validity::Unknown(why));
                }
                Some(record) => {
                    found.insert(*index, Validity::WellFormed);
                    same.insert((record.partition, record.offset), *index);
                }
            }
        }
        let records = Records {
            list: by_identity
                .into_iter()
                .filter_map(|(identity, record)| same.contains_key(&identity).then_some(record))
                .collect(),
            ..records
        };
        let decoded = decode::records::decode(&self.topic, &records, Utc::now());
        let decoded = decoded.map_err(|source| encode_failed(source.into()))?;
        let (rows, refused) = self.rows(&decoded).await;
        let identities = decoded.refused.iter().chain(&refused);
        for identity in identities.filter_map(|dead_letter| dead_letter.identity) {
            if let Some(index) = same.get(&identity) {
                found.insert(*index, Validity::Malformed);
            }
        }
        Ok(Some(rows))
    }

    /// The rows of decoded messages, and dead letters of those that a rule refuses.
    async fn rows(&self, decoded: &Decoded) -> (Vec<Vec<RecordBatch>>, Vec<NewDeadLetter>) {
        let transformed = self.transform.apply(&decoded.messages).await;
        let refused = transformed.refused.into_iter();
        let refused =
            refused.map(|(index, reason, detail)| decoded.dead_letter(index, &reason, detail));
        (transformed.rows, refused.collect())
    }

    /// The records at `offsets` that Kafka still holds, or why it holds none of them.
    async fn read_kafka(
        &mut self,
        offsets: Offsets,
    ) -> Result<Result<Records, &'static str>, Error> {
        if self.kafka.is_none() {
            self.kafka = Some(self.connect().await?);
        }
        let (connection, watermarks) = match &self.kafka {
            Some(Kafka::There {
                connection,
                watermarks,
            }) => (connection.clone(), watermarks.clone()),
            Some(Kafka::Another(why)) => return Ok(Err(*why)),
            None => unreachable!("it was connected just now"),
        };
        // Cancelled when this future is dropped, so that the reader thread ends with it.
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let reading = tokio::task::spawn_blocking(move || {
            kafka::reread(&connection, &offsets, &watermarks, &stop)
        });
        Ok(Ok(reading.await.map_err(Error::Task)??))
    }

    /// The rows at `offsets` that PostgreSQL still holds.
    async fn read_postgres(&mut self, offsets: &Offsets) -> Result<Records, Error> {
        if self.postgres.is_none() {
            let table = postgres::Table::open(&self.sources.postgres, &self.topic.name);
            self.postgres = Some(table.await?);
        }
        let table = self.postgres.as_ref();
        let table = table.expect("it was opened just now");
        Ok(table.reread(offsets).await?)
    }

    async fn connect(&self) -> Result<Kafka, Error> {
        let options = self.sources.kafka.clone();
        let connection = match Connection::open(options, "isobar-replay").await {
            Err(connections::Error::NoTopic { .. }) => {
                return Ok(Kafka::Another("Kafka has no such topic any more"));
            }
            connection => connection?,
        };
        let id = halves(connection.id());
        if self.recorded.is_some_and(|recorded| recorded != id) {
            return Ok(Kafka::Another(
                "the topic in Kafka is another one of that name: it was deleted and created again",
            ));
        }
        Ok(Kafka::There {
            watermarks: connection.watermarks().await?,
            connection,
        })
    }
}

fn offsets_of(dead_letters: &[(usize, &DeadLetter)]) -> Offsets {
    let mut offsets = Offsets::new();
    for (partition, offset) in dead_letters
        .iter()
        .filter_map(|(_, dead_letter)| dead_letter.identity)
    {
        offsets.entry(partition).or_default().insert(offset);
    }
    offsets
}

/// Whether the dead letter holds exactly one whole line.
fn is_line(dead_letter: &DeadLetter) -> bool {
    dead_letter.reason != CUT && !dead_letter.value.contains(&b'\n')
}

/// The dead letters as lines of one file: a line number is the index of a dead letter.
fn block(dead_letters: &[(usize, &DeadLetter)]) -> LineBlock {
    let bytes: usize = dead_letters
        .iter()
        .map(|(_, dead_letter)| dead_letter.value.len() + 1)
        .sum();
    let mut text = BytesMut::with_capacity(bytes);
    for (_, dead_letter) in dead_letters {
        text.put_slice(&dead_letter.value);
        text.put_u8(b'\n');
    }
    LineBlock {
        path: Arc::from(""),
        first_line: 0,
        content: Content::Lines(text.freeze()),
        bytes: bytes as u64,
    }
}

fn encode_failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Encode {
        table: dead_letters::table_name(),
        source,
    }
}
