//! The tables that `consume` writes: rows, dead letters and positions, in one transaction.

use bytes::BytesMut;
use connections::postgres::{Database, lock, migrate};
use connections::records::Positions;
use futures::pin_mut;
use service::fail;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::Consumed;
use super::batch::{Batch, Disposition, ValidatedMessage, paris_local_time};
use crate::error::Error;

/// Temporary table for batches with messages that table `weather` may have already. Each commit
/// empties it. Its values are read once, so compression would only cost time.
const STAGING: &str = "
CREATE TEMPORARY TABLE staging (
    topic TEXT, partition INT, msg_offset BIGINT, event_time TIMESTAMPTZ, date_time TIMESTAMP, value JSONB
) ON COMMIT DELETE ROWS;
ALTER TABLE staging ALTER COLUMN value SET STORAGE EXTERNAL";

/// Chooses LZ4 where the server has it. PostgreSQL compresses most messages, because of their size;
/// its default method takes as long as parsing them, LZ4 a small part of that. A method that is set
/// for the column takes precedence.
const COMPRESSION: &str = "
SELECT set_config(name, 'lz4', false) FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)";

/// Whether COPY into the table has the effect of INSERT. COPY converts no types, fails under row
/// security, and without the key would double rows. For a table that was altered, the store uses
/// the staging table, whose INSERT reports what is wrong.
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

/// Inserts the new rows of the staging table.
const INSERT: &str = "
INSERT INTO weather (topic, partition, msg_offset, event_time, date_time, value)
SELECT topic, partition, msg_offset, event_time, date_time, value FROM staging
ON CONFLICT (topic, partition, msg_offset) DO NOTHING";

/// A row of the table with the identity of a new message and another time. Times are compared to
/// the second, since rows of the legacy pipeline may have fractions.
const OTHER: &str = "
SELECT partition, msg_offset FROM staging JOIN weather USING (partition, msg_offset)
WHERE weather.topic = $1 AND date_trunc('second', weather.date_time) <> staging.date_time
ORDER BY partition, msg_offset LIMIT 1";

const DEAD_LETTERS: &str = "
INSERT INTO isobar.dead_letters (topic, partition, msg_offset, reason, detail, value)
SELECT $1, * FROM unnest($2::INT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::BYTEA[])
ON CONFLICT (topic, partition, msg_offset) DO NOTHING";

/// A position never falls back.
const POSITIONS: &str = "
INSERT INTO isobar.positions (topic, partition, next_offset)
SELECT $1, * FROM unnest($2::INT[], $3::BIGINT[])
ON CONFLICT (topic, partition) DO UPDATE
SET next_offset = greatest(positions.next_offset, excluded.next_offset)";

/// Writes the messages of one topic.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    topic: String,
    /// Whether rows may be copied directly into the table: see [`IS_PLAIN`].
    is_plain: bool,
    /// Whether the batch before had messages that the table already held: the next one probably has
    /// some too.
    repeats: bool,
}

impl Store {
    /// Migrates the tables to the newest version, and reads the positions of `topic`.
    ///
    /// # Errors
    /// When the server refuses, another process consumes the topic, or the rows belong to another
    /// topic of this name.
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
        let (known, rows) = Database::with_timeout(&options, "read the positions", read).await?;
        // Brokers without topic ids report nil: then the name must be enough.
        if known.is_some_and(|known| known != id && !known.is_nil() && !id.is_nil()) {
            return Err(connections::Error::TopicRecreated {
                topic: topic.to_owned(),
            }
            .into());
        }
        let positions = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok((Self::open_another(database, topic).await?, positions))
    }

    /// A further connection to tables that [`Self::open`] has migrated.
    pub(crate) async fn open_another(database: Database, topic: &str) -> Result<Self, Error> {
        let client = &database.client;
        let prepare = async {
            client.batch_execute(STAGING).await?;
            client.execute(COMPRESSION, &[]).await?;
            Ok(client.query_one(IS_PLAIN, &[]).await?.get(0))
        };
        let options = database.options().clone();
        let is_plain = Database::with_timeout(&options, "make a staging table", prepare).await?;
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
    /// When the server refuses; then nothing is written. When the connection breaks during COMMIT,
    /// either everything or nothing is written.
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
        let written = Database::with_timeout(&options, "write messages", write).await?;
        written.map_err(|(partition, offset)| Error::OtherMessage {
            topic: self.topic.clone(),
            partition,
            offset,
        })
    }
}

/// Copies the rows among the messages directly into the table, and returns their number. Writes
/// nothing and returns none if the table has one of them already.
async fn insert_new(
    transaction: &mut Transaction<'_>,
    topic: &str,
    messages: &[ValidatedMessage],
) -> Result<Option<u64>, tokio_postgres::Error> {
    let attempt = transaction.savepoint("attempt").await?;
    match copy(&attempt, "weather", topic, messages).await {
        Ok(rows) => {
            attempt.commit().await?;
            Ok(Some(rows))
        }
        // The server reports it after it has read all rows, so the protocol stays in step.
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            attempt.rollback().await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Copies the rows among the messages into a table, and returns their number.
async fn copy(
    transaction: &Transaction<'_>,
    table: &str,
    topic: &str,
    messages: &[ValidatedMessage],
) -> Result<u64, tokio_postgres::Error> {
    let copy = format!("COPY {table} ({COLUMNS}) FROM STDIN BINARY");
    let sink = transaction.copy_in(&copy).await?;
    let writer = BinaryCopyInWriter::new(sink, &COLUMN_TYPES);
    pin_mut!(writer);
    for message in messages {
        if let Disposition::Row { event_time } = message.disposition {
            let row: [&(dyn ToSql + Sync); 6] = [
                &topic,
                &message.partition,
                &message.offset,
                &event_time,
                &paris_local_time(event_time),
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
    messages: &[ValidatedMessage],
) -> Result<u64, tokio_postgres::Error> {
    let (mut partitions, mut offsets, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reasons, mut details) = (Vec::new(), Vec::new());
    for message in messages {
        if let Disposition::DeadLetter { reason, detail } = &message.disposition {
            partitions.push(message.partition);
            offsets.push(message.offset);
            values.push(message.value.as_ref());
            reasons.push(*reason);
            // TEXT cannot hold NUL.
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

/// A value for a JSONB column, in its text form: the server parses it.
#[derive(Debug)]
struct Json<'a>(&'a [u8]);

impl ToSql for Json<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        // Version 1 of the binary format of JSONB.
        out.extend_from_slice(&[1]);
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::JSONB
    }

    to_sql_checked!();
}
