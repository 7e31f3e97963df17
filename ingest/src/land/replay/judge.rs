//! Letters judged anew: what they hold is decoded as when it came, by what is declared now.
//!
//! A letter of an export file holds its whole line. That of a Kafka record, or of a row in PostgreSQL, holds the value alone, so
//! that the record or the row is read again for its time and its key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{BufMut as _, BytesMut};
use chrono::Utc;
use engine::lake::Table;
use tokio_util::sync::CancellationToken;

use super::super::decode::{self, Decoded};
use super::super::tables::{halves, recorded_id};
use super::super::transform::Transform;
use crate::dead_letters::{self, DeadLetter, NewDeadLetter};
use crate::declaration::Topic;
use crate::error::Error;
use crate::message::Decoder;
use crate::postgres::PostgresOptions;
use crate::source::files::{Block, Content};
use crate::source::kafka::{self, Connection, Extent, KafkaOptions};
use crate::source::{Offsets, Record, Records, postgres};

/// Of these `consume` made no row, since they have no time in Kafka either.
const NO_TIME: &str = "unreadable_event_time";
/// Of these only the beginning is kept.
const CUT: &str = "message_too_long";

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is a message, whether it makes rows or not.
    WellFormed,
    Malformed,
    /// It cannot be told, for this reason.
    Unjudged(String),
}

/// Letters that were judged together.
#[derive(Debug)]
pub(super) struct Judged {
    /// In the order of the letters.
    pub(super) verdicts: Vec<Verdict>,
    /// Rows by table, of messages with different identities in each list.
    pub(super) rows: Vec<Vec<Vec<RecordBatch>>>,
}

/// Judges letters of one topic.
pub(super) struct Judge {
    topic: Arc<Topic>,
    transform: Transform,
    sources: ReplaySources,
    /// Which topic of that name the letters are of.
    recorded: Option<[i64; 2]>,
    /// Connected when the first letter needs it.
    kafka: Option<Kafka>,
    /// Likewise.
    postgres: Option<postgres::Table>,
}

/// Where messages are read again.
#[derive(Clone, Debug)]
pub struct ReplaySources {
    pub kafka: KafkaOptions,
    pub postgres: PostgresOptions,
}

/// The topic as Kafka has it.
enum Kafka {
    There {
        connection: Connection,
        extents: BTreeMap<i32, Extent>,
    },
    /// It is not the topic of the letters, for this reason.
    Another(&'static str),
}

/// Verdicts as they are found, by the place of the letter.
type Found = HashMap<usize, Verdict>;

impl Judge {
    pub(super) async fn new(
        topic: &Arc<Topic>,
        sources: &ReplaySources,
        letters: &Table,
    ) -> Result<Self, Error> {
        Ok(Self {
            topic: Arc::clone(topic),
            transform: Transform::new(topic).await?,
            sources: sources.clone(),
            recorded: recorded_id(letters.snapshot(), &topic.name).await?,
            kafka: None,
            postgres: None,
        })
    }

    pub(super) async fn judge(&mut self, letters: &[&DeadLetter]) -> Result<Judged, Error> {
        let mut found = Found::new();
        let (mut lines, mut records, mut table_rows) = (Vec::new(), Vec::new(), Vec::new());
        for (index, letter) in letters.iter().enumerate() {
            match letter.source.as_str() {
                "files" if is_line(letter) => lines.push((index, *letter)),
                "kafka" if self.may_be_message(letter) => records.push((index, *letter)),
                "postgres" if letter.reason != NO_TIME && self.may_be_message(letter) => {
                    table_rows.push((index, *letter))
                }
                "files" | "kafka" | "postgres" => {
                    found.insert(index, Verdict::Malformed);
                }
                other => {
                    let why = format!("letters of source \"{other}\" cannot be replayed");
                    found.insert(index, Verdict::Unjudged(why));
                }
            }
        }
        let mut rows = Vec::new();
        while !lines.is_empty() {
            rows.push(self.judge_lines(&mut lines, &mut found).await?);
        }
        if !records.is_empty() {
            let again = self.read_kafka(offsets_of(&records)).await?;
            rows.extend(
                self.judge_records("Kafka", again, &records, &mut found)
                    .await?,
            );
        }
        if !table_rows.is_empty() {
            let again = Ok(self.read_postgres(&offsets_of(&table_rows)).await?);
            let judged = self.judge_records("PostgreSQL", again, &table_rows, &mut found);
            rows.extend(judged.await?);
        }
        let verdicts = (0..letters.len()).map(|index| {
            let verdict = found.remove(&index);
            verdict.expect("every letter is judged by its source")
        });
        Ok(Judged {
            verdicts: verdicts.collect(),
            rows,
        })
    }

    /// Whether the value alone may be a well-formed message, so that the rest of the record is worth reading.
    fn may_be_message(&self, letter: &DeadLetter) -> bool {
        let mut decoder = Decoder::new(&self.topic.shape);
        letter.reason != CUT && decoder.push(&letter.value).is_ok()
    }

    /// Judges lines, and leaves in the list those whose identity another one of them has: an identity is decoded once
    /// in a block, and the other may be the well-formed one.
    async fn judge_lines(
        &self,
        lines: &mut Vec<(usize, &DeadLetter)>,
        found: &mut Found,
    ) -> Result<Vec<Vec<RecordBatch>>, Error> {
        let decoded = decode::lines::decode(&self.topic, block(lines), Utc::now());
        let decoded = decoded.map_err(|source| encode_failed(source.into()))?;
        let place = |line: i64| usize::try_from(line).unwrap_or_default();
        let kept: HashSet<usize> = decoded.lines().map(place).collect();
        let (rows, refused) = self.rows(&decoded).await;
        let refused: HashSet<usize> = decoded
            .refused
            .iter()
            .chain(&refused)
            .filter_map(|letter| letter.place.as_ref())
            .map(|(_, line)| place(*line))
            .collect();
        let mut rest = Vec::new();
        for (line, (index, letter)) in std::mem::take(lines).into_iter().enumerate() {
            if refused.contains(&line) {
                found.insert(index, Verdict::Malformed);
            } else if kept.contains(&line) {
                found.insert(index, Verdict::WellFormed);
            } else {
                rest.push((index, letter));
            }
        }
        *lines = rest;
        Ok(rows)
    }

    /// Judges letters by what `holder` has of them, or says why it has nothing.
    async fn judge_records(
        &self,
        holder: &str,
        again: Result<Records, &'static str>,
        letters: &[(usize, &DeadLetter)],
        found: &mut Found,
    ) -> Result<Option<Vec<Vec<RecordBatch>>>, Error> {
        let records = match again {
            Ok(records) => records,
            Err(why) => {
                let unjudged =
                    |(index, _): &(usize, &DeadLetter)| (*index, Verdict::Unjudged(why.to_owned()));
                found.extend(letters.iter().map(unjudged));
                return Ok(None);
            }
        };
        let by_identity: HashMap<_, Record> = records
            .list
            .iter()
            .map(|record| ((record.partition, record.offset), record.clone()))
            .collect();
        let mut same = HashMap::new();
        for (index, letter) in letters {
            let record = letter
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
                    found.insert(*index, Verdict::Unjudged(why));
                }
                Some(record) if value(record) != letter.value => {
                    let why = format!("{holder} holds another message at this offset");
                    found.insert(*index, Verdict::Unjudged(why));
                }
                Some(record) => {
                    found.insert(*index, Verdict::WellFormed);
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
        for identity in identities.filter_map(|letter| letter.identity) {
            if let Some(index) = same.get(&identity) {
                found.insert(*index, Verdict::Malformed);
            }
        }
        Ok(Some(rows))
    }

    /// The rows of what was decoded, and letters of what the rules refuse.
    async fn rows(&self, decoded: &Decoded) -> (Vec<Vec<RecordBatch>>, Vec<NewDeadLetter>) {
        let transformed = self.transform.apply(&decoded.messages).await;
        let refused = transformed.refused.into_iter();
        let refused =
            refused.map(|(index, reason, detail)| decoded.dead_letter(index, &reason, detail));
        (transformed.rows, refused.collect())
    }

    /// The records at `offsets`, as far as Kafka holds them; or why it holds none of them.
    async fn read_kafka(
        &mut self,
        offsets: Offsets,
    ) -> Result<Result<Records, &'static str>, Error> {
        if self.kafka.is_none() {
            self.kafka = Some(self.connect().await?);
        }
        let (connection, extents) = match &self.kafka {
            Some(Kafka::There {
                connection,
                extents,
            }) => (connection.clone(), extents.clone()),
            Some(Kafka::Another(why)) => return Ok(Err(*why)),
            None => unreachable!("it was connected just now"),
        };
        // Dropped with this future, it ends the thread that reads.
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let reading = tokio::task::spawn_blocking(move || {
            kafka::read_again(&connection, &offsets, &extents, &stop)
        });
        Ok(Ok(reading.await.map_err(Error::Task)??))
    }

    /// The rows at `offsets`, as far as PostgreSQL holds them.
    async fn read_postgres(&mut self, offsets: &Offsets) -> Result<Records, Error> {
        if self.postgres.is_none() {
            let table = postgres::Table::open(&self.sources.postgres, &self.topic.name);
            self.postgres = Some(table.await?);
        }
        let table = self.postgres.as_ref();
        let table = table.expect("it was opened just now");
        table.read_again(offsets).await
    }

    async fn connect(&self) -> Result<Kafka, Error> {
        let options = self.sources.kafka.clone();
        let connection = match Connection::open(options, "isobar-replay").await {
            Err(Error::NoTopic { .. }) => {
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
            extents: connection.extents().await?,
            connection,
        })
    }
}

fn offsets_of(letters: &[(usize, &DeadLetter)]) -> Offsets {
    let mut offsets = Offsets::new();
    for (partition, offset) in letters.iter().filter_map(|(_, letter)| letter.identity) {
        offsets.entry(partition).or_default().insert(offset);
    }
    offsets
}

/// Whether the letter holds one line, whole.
fn is_line(letter: &DeadLetter) -> bool {
    letter.reason != CUT && !letter.value.contains(&b'\n')
}

/// The letters as lines of one file: the number of a line is the place of its letter.
fn block(letters: &[(usize, &DeadLetter)]) -> Block {
    let bytes: usize = letters
        .iter()
        .map(|(_, letter)| letter.value.len() + 1)
        .sum();
    let mut text = BytesMut::with_capacity(bytes);
    for (_, letter) in letters {
        text.put_slice(&letter.value);
        text.put_u8(b'\n');
    }
    Block {
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
