//! The tables of a consumption: rows, dead letters and positions, written together.

use bytes::BytesMut;
use engine::fail;
use futures::pin_mut;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::Consumed;
use super::batch::{Batch, Message, Verdict, local};
use crate::error::Error;
use crate::postgres::{Database, lock, migrate};
use crate::source::Positions;

/// For batches with messages that are there already. It is emptied at each commit; what is in it is read at once and never
/// again, so that nothing is compressed for it.
const STAGING: &str = "
CREATE TEMPORARY TABLE staging (
    topic TEXT, partition INT, msg_offset BIGINT, event_time TIMESTAMPTZ, date_time TIMESTAMP, value JSONB
) ON COMMIT DELETE ROWS;
ALTER TABLE staging ALTER COLUMN value SET STORAGE EXTERNAL";

/// Most messages are of the size from which PostgreSQL compresses them. Its own method takes as long as parsing them, and LZ4,
/// where the server has it, a small part of that. A method that somebody has set for the column holds all the same.
const COMPRESSION: &str = "
SELECT set_config(name, 'lz4', false) FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)";

/// Whether COPY into the table does what INSERT would: it converts no types, is refused where row security holds, and without
/// the key would double rows. Where the table was changed by hand, rows go by way of the staging table, which says what is wrong.
const IS_PLAIN: &str = "
SELECT relkind IN ('r', 'p')
    AND NOT row_security_active(weather.oid)
    AND (
        SELECT count(*) = 6
        FROM pg_attribute JOIN (VALUES
            ('topic', 'TEXT'::regtype), ('partition', 'INT'), ('msg_offset', 'BIGINT'),
            ('event_time', 'TIMESTAMPTZ'), ('date_time', 'TIMESTAMP'), ('value', 'JSONB')
        ) AS wanted (name, type) ON attname = name AND atttypid = type
        WHERE attrelid = weather.oid AND NOT attisdropped
    )
    AND EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = weather.oid AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL
            AND indexprs IS NULL AND ARRAY['msg_offset', 'partition', 'topic'] = (
                SELECT array_agg(attname::TEXT ORDER BY attname)
                FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)
            )
    )
FROM pg_class AS weather WHERE weather.oid = 'weather'::regclass";

const COLUMNS: &str = "topic, partition, msg_offset, event_time, date_time, value";
const COLUMN_TYPES: [Type; 6] = [
    Type::TEXT,
    Type::INT4,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMP,
    Type::JSONB,
];

/// From the staging table what is new.
const INSERT: &str = "
INSERT INTO weather (topic, partition, msg_offset, event_time, date_time, value)
SELECT topic, partition, msg_offset, event_time, date_time, value FROM staging
ON CONFLICT (topic, partition, msg_offset) DO NOTHING";

/// A row that was there already, under the same identity, of another message. The older pipeline may have written fractions of a
/// second, which `date_time` has no more.
const OTHER: &str = "
SELECT partition, msg_offset FROM staging JOIN weather USING (partition, msg_offset)
WHERE weather.topic = $1 AND date_trunc('second', weather.date_time) <> staging.date_time
ORDER BY partition, msg_offset LIMIT 1";

const DEAD_LETTERS: &str = "
INSERT INTO isobar.dead_letters (topic, partition, msg_offset, reason, detail, value)
SELECT $1, * FROM unnest($2::INT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::BYTEA[])
ON CONFLICT (topic, partition, msg_offset) DO NOTHING";

/// They never fall back.
const POSITIONS: &str = "
INSERT INTO isobar.positions (topic, partition, next_offset)
SELECT $1, * FROM unnest($2::INT[], $3::BIGINT[])
ON CONFLICT (topic, partition) DO UPDATE
SET next_offset = greatest(positions.next_offset, excluded.next_offset)";

/// What is stored of a topic.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    topic: String,
    /// Whether rows may be copied straight into the table.
    is_plain: bool,
    /// Whether the batch before had messages that were there already. Then the next one is likely to have some, too.
    repeats: bool,
}

impl Store {
    /// Brings the tables to the newest version and reads how far `topic` was consumed.
    ///
    /// # Errors
    /// When the server refuses, another consumption of the topic runs, or what is stored is of another topic of this name.
    pub(crate) async fn open(
        mut database: Database,
        topic: &str,
        id: Uuid,
    ) -> Result<(Self, Positions), Error> {
        lock(&database, "consume", topic).await?;
        migrate(&mut database, topic).await?;
        let options = database.options().clone();
        let client = &database.client;
        let read = async {
            let known = "SELECT topic_id FROM isobar.topics WHERE topic = $1";
            let known = client.query_opt(known, &[&topic]).await?;
            if known.is_none() {
                let first = "INSERT INTO isobar.topics (topic, topic_id) VALUES ($1, $2)";
                client.execute(first, &[&topic, &id]).await?;
            }
            let positions = "SELECT partition, next_offset FROM isobar.positions WHERE topic = $1";
            let positions = client.query(positions, &[&topic]).await?;
            Ok((known.map(|row| row.get::<_, Uuid>(0)), positions))
        };
        let (known, rows) = Database::within(&options, "read the positions", read).await?;
        // Brokers that give topics no id are taken at their word.
        if known.is_some_and(|known| known != id && !known.is_nil() && !id.is_nil()) {
            return Err(Error::TopicRecreated {
                topic: topic.to_owned(),
            });
        }
        let positions = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok((Self::beside(database, topic).await?, positions))
    }

    /// Another connection to what was opened.
    pub(crate) async fn beside(database: Database, topic: &str) -> Result<Self, Error> {
        let client = &database.client;
        let prepare = async {
            client.batch_execute(STAGING).await?;
            client.execute(COMPRESSION, &[]).await?;
            Ok(client.query_one(IS_PLAIN, &[]).await?.get(0))
        };
        let options = database.options().clone();
        let is_plain = Database::within(&options, "make a staging table", prepare).await?;
        Ok(Self {
            database,
            topic: topic.to_owned(),
            is_plain,
            repeats: false,
        })
    }

    /// Writes a batch in one transaction.
    ///
    /// # Errors
    /// When the server refuses; then nothing of it is written. When the answer to the last word, COMMIT, does not come, all of it or
    /// nothing is.
    pub(crate) async fn write(&mut self, batch: &Batch) -> Result<Consumed, Error> {
        let options = self.database.options().clone();
        let topic = self.topic.as_str();
        let client = &mut self.database.client;
        let write = async {
            let mut transaction = client.transaction().await?;
            let mut inserted = None;
            if self.is_plain && !self.repeats {
                inserted = insert_new(&mut transaction, topic, &batch.messages).await?;
            }
            let inserted = match inserted {
                Some(rows) => rows,
                None => {
                    let rows = copy(&transaction, "staging", topic, &batch.messages).await?;
                    let inserted = transaction.execute(INSERT, &[]).await?;
                    self.repeats = inserted < rows;
                    if self.repeats
                        && let Some(row) = transaction.query_opt(OTHER, &[&topic]).await?
                    {
                        return Ok(Err((row.get(0), row.get(1))));
                    }
                    inserted
                }
            };
            let refused = insert_dead_letters(&transaction, topic, &batch.messages).await?;
            let (partitions, next): (Vec<i32>, Vec<i64>) = batch.positions.iter().unzip();
            transaction
                .execute(POSITIONS, &[&topic, &partitions, &next])
                .await?;
            fail::point("rows.inserted");
            transaction.commit().await?;
            fail::point("rows.committed");
            Ok(Ok(Consumed {
                inserted,
                refused,
                repeated: batch.count() as u64 - inserted - refused,
                transactions: 1,
            }))
        };
        let written = Database::within(&options, "write messages", write).await?;
        written.map_err(|(partition, offset)| Error::OtherMessage {
            topic: self.topic.clone(),
            partition,
            offset,
        })
    }
}

/// Copies those that are to be rows straight into the table, and counts them: each is written once. Nothing is done when one of
/// them is there already.
async fn insert_new(
    transaction: &mut Transaction<'_>,
    topic: &str,
    messages: &[Message],
) -> Result<Option<u64>, tokio_postgres::Error> {
    let attempt = transaction.savepoint("attempt").await?;
    match copy(&attempt, "weather", topic, messages).await {
        Ok(rows) => {
            attempt.commit().await?;
            Ok(Some(rows))
        }
        // It is of a row that the server has read, and so comes once all were sent: answers stay in step with what was asked.
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            attempt.rollback().await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Copies those that are to be rows into a table, and counts them.
async fn copy(
    transaction: &Transaction<'_>,
    table: &str,
    topic: &str,
    messages: &[Message],
) -> Result<u64, tokio_postgres::Error> {
    let copy = format!("COPY {table} ({COLUMNS}) FROM STDIN BINARY");
    let sink = transaction.copy_in(&copy).await?;
    let writer = BinaryCopyInWriter::new(sink, &COLUMN_TYPES);
    pin_mut!(writer);
    for message in messages {
        if let Verdict::Row { event_time } = message.verdict {
            let row: [&(dyn ToSql + Sync); 6] = [
                &topic,
                &message.partition,
                &message.offset,
                &event_time,
                &local(event_time),
                &Json(&message.value),
            ];
            writer.as_mut().write(&row).await?;
        }
    }
    writer.finish().await
}

/// Inserts the dead letters among the messages, and returns the number of new ones.
async fn insert_dead_letters(
    transaction: &Transaction<'_>,
    topic: &str,
    messages: &[Message],
) -> Result<u64, tokio_postgres::Error> {
    let (mut partitions, mut offsets, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reasons, mut details) = (Vec::new(), Vec::new());
    for message in messages {
        if let Verdict::Letter { reason, detail } = &message.verdict {
            partitions.push(message.partition);
            offsets.push(message.offset);
            values.push(message.value.as_ref());
            reasons.push(*reason);
            // Text of PostgreSQL has no NUL.
            details.push(detail.replace('\0', "\\0"));
        }
    }
    if partitions.is_empty() {
        return Ok(0);
    }
    transaction
        .execute(
            DEAD_LETTERS,
            &[&topic, &partitions, &offsets, &reasons, &details, &values],
        )
        .await
}

/// JSON as it was sent, which the server parses.
#[derive(Debug)]
struct Json<'a>(&'a [u8]);

impl ToSql for Json<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        // The version of the binary form.
        out.extend_from_slice(&[1]);
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::JSONB
    }

    to_sql_checked!();
}
