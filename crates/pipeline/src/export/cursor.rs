//! The cursor of the export: which rows are exported, and which are being exported.
//!
//! The database records an export before its files are written: the offsets that it takes, and the
//! name of its files. After a crash, the next start finds the record and writes the same files
//! again; only then does it count as exported.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use chrono_tz::Tz;
use connections::postgres::{Database, PostgresOptions, lock, migrate};
use futures::{TryStreamExt as _, pin_mut};
use service::error_chain;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Transaction};
use tracing::warn;

use super::ranges::Ranges;
use super::{ExportLimits, line};
use crate::error::Error;

/// Rows of one statement.
const PAGE: i32 = 1000;

const BEGUN: &str = "SELECT file, zone FROM isobar.exports WHERE topic = $1 LIMIT 1";

/// Format of file names, that of the legacy exporter: local time of Europe/Paris to the
/// microsecond.
const NAME: &str = "
SELECT 'weather_' || to_char(clock_timestamp() AT TIME ZONE 'Europe/Paris', 'YYYYMMDD\"T\"HH24MISSUS') || '.json'";

/// For each topic partition with rows: the exported ranges, the start of their first gap, and the
/// position of `consume`. The recursion looks up one partition after the other in the key, since
/// DISTINCT would read all rows.
const PARTITIONS: &str = "
WITH RECURSIVE numbers AS (
    SELECT min(partition) AS partition FROM weather WHERE topic = $1
    UNION ALL
    SELECT (SELECT min(weather.partition) FROM weather WHERE topic = $1 AND weather.partition > numbers.partition)
    FROM numbers WHERE numbers.partition IS NOT NULL
)
SELECT
    numbers.partition,
    coalesce(offsets, '{}')::TEXT,
    lower('{[0,)}'::INT8MULTIRANGE - coalesce(offsets, '{}')),
    coalesce(next_offset, -1)
FROM numbers
LEFT JOIN isobar.exported ON exported.topic = $1 AND exported.partition = numbers.partition
LEFT JOIN isobar.positions ON positions.topic = $1 AND positions.partition = numbers.partition
WHERE numbers.partition IS NOT NULL
ORDER BY numbers.partition";

/// The greatest possible offset is left out: a range could not end after it, and no message of
/// Kafka has it.
const OPEN_ROWS: &str = "
SELECT msg_offset, octet_length(value::TEXT)::BIGINT FROM weather
WHERE topic = $1 AND partition = $2 AND msg_offset >= $3 AND msg_offset < 9223372036854775807
    AND NOT $4::TEXT::INT8MULTIRANGE @> msg_offset
ORDER BY msg_offset";

/// Limit of a count, so that a large backlog takes no time.
pub(crate) const COUNTED_MAX: i64 = 1_000_000;

const OPEN_ROWS_COUNT: &str = "
SELECT count(*) FROM (
    SELECT FROM weather
    WHERE topic = $1 AND partition = $2 AND msg_offset >= $3 AND msg_offset < 9223372036854775807
        AND NOT $4::TEXT::INT8MULTIRANGE @> msg_offset
    LIMIT $5
) AS open";

const BEGIN: &str = "
INSERT INTO isobar.exports (topic, partition, offsets, file, zone)
VALUES ($1, $2, $3::TEXT::INT8MULTIRANGE, $4, $5)";

/// The ranges of an export may contain exported rows. Rows with a time outside the years that lines
/// and directories can express are left out: `consume` writes none, but PostgreSQL allows them, and
/// `infinity`.
const ROWS: &str = "
SELECT
    partition,
    msg_offset,
    CASE WHEN date_time BETWEEN '0001-01-01' AND '9999-12-30' THEN date_time END,
    CASE WHEN event_time BETWEEN '0001-01-02+00' AND '9999-12-30+00' THEN event_time END,
    value::TEXT
FROM isobar.exports
JOIN weather USING (topic, partition)
LEFT JOIN isobar.exported USING (topic, partition)
WHERE topic = $1
    AND msg_offset >= lower(exports.offsets) AND msg_offset < upper(exports.offsets)
    AND exports.offsets @> msg_offset
    AND NOT coalesce(exported.offsets, '{}') @> msg_offset
ORDER BY partition, msg_offset";

const FINISH: &str = "
INSERT INTO isobar.exported (topic, partition, offsets)
SELECT topic, partition, offsets FROM isobar.exports WHERE topic = $1
ON CONFLICT (topic, partition) DO UPDATE SET offsets = exported.offsets + excluded.offsets";

const FORGET: &str = "DELETE FROM isobar.exports WHERE topic = $1";

/// Time of the last export, for readers of the table of the legacy exporter. It is no cursor. That
/// exporter added a row for each export, and the newest one counted; its key may be the time
/// itself, so one row is updated.
const REF_DATE: &str = "
UPDATE ref_date SET ref_date = now() AT TIME ZONE 'Europe/Paris', application_name = 'HDFS'
WHERE ctid = (
    SELECT ctid FROM ref_date
    WHERE coalesce(application_name, 'HDFS') = 'HDFS'
    ORDER BY ref_date DESC NULLS LAST
    LIMIT 1
)";
const FIRST_REF_DATE: &str = "
INSERT INTO ref_date (application_name, ref_date) VALUES ('HDFS', now() AT TIME ZONE 'Europe/Paris')";

/// An export that is recorded and not finished.
#[derive(Clone, Debug)]
pub(crate) struct PendingExport {
    /// Name of its files, the same in the directory of each day.
    pub(crate) file: String,
    /// Time zone of the days.
    pub(crate) zone: Tz,
}

impl PendingExport {
    /// The export as PostgreSQL has it: the name of its files, and that of its time zone.
    ///
    /// # Errors
    /// When the zone is not known. Days of another zone would repeat rows of the files that exist.
    fn recorded(file: String, zone: &str) -> Result<Self, Error> {
        match zone.parse() {
            Ok(zone) => Ok(Self { file, zone }),
            Err(_) => Err(Error::ExportZone {
                file,
                zone: zone.to_owned(),
            }),
        }
    }
}

/// The lines of an export by day.
#[derive(Debug, Default)]
pub(crate) struct ExportLines {
    /// Text of the file of each day.
    pub(crate) by_day: BTreeMap<NaiveDate, String>,
    /// Number of lines.
    pub(crate) rows: u64,
    /// The newest event time.
    pub(crate) newest: Option<DateTime<Utc>>,
}

/// The exports of a topic.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The connection that holds the lock of the topic.
    pub(super) database: Database,
    /// Name of the topic in Kafka.
    pub(super) topic: String,
}

impl Cursor {
    /// Connects, and migrates the tables to the newest version.
    ///
    /// # Errors
    /// When the server refuses, or another export of the topic runs.
    pub(crate) async fn open(options: &PostgresOptions, topic: &str) -> Result<Self, Error> {
        let mut database = Database::connect(options, "isobar export").await?;
        lock(&database, "export", topic).await?;
        migrate(&mut database, topic).await?;
        Ok(Self {
            database,
            topic: topic.to_owned(),
        })
    }

    /// Number of rows that are not exported yet, up to [`COUNTED_MAX`] of each topic partition.
    pub(crate) async fn open_rows(&self) -> Result<u64, Error> {
        let client = &self.database.client;
        let count = async {
            let mut open = 0;
            for row in client.query(PARTITIONS, &[&self.topic]).await? {
                let partition: i32 = row.get(0);
                let (exported, from): (&str, i64) = (row.get(1), row.get(2));
                let of_partition: [&(dyn ToSql + Sync); 5] =
                    [&self.topic, &partition, &from, &exported, &COUNTED_MAX];
                let count = client.query_one(OPEN_ROWS_COUNT, &of_partition).await?;
                open += u64::try_from(count.get::<_, i64>(0)).unwrap_or_default();
            }
            Ok(open)
        };
        Ok(Database::with_timeout(self.database.options(), "count rows to export", count).await?)
    }

    /// The export that is recorded and not finished.
    pub(crate) async fn pending(&self) -> Result<Option<PendingExport>, Error> {
        let client = &self.database.client;
        let asked = async { client.query_opt(BEGUN, &[&self.topic]).await };
        let row =
            Database::with_timeout(self.database.options(), "look for an export", asked).await?;
        row.map(|row| PendingExport::recorded(row.get(0), row.get(1)))
            .transpose()
    }

    /// Records an export of the next rows; none when all rows are exported.
    pub(crate) async fn begin(
        &mut self,
        zone: Tz,
        limits: ExportLimits,
    ) -> Result<Option<PendingExport>, Error> {
        let options = self.database.options().clone();
        let topic = self.topic.as_str();
        let client = &mut self.database.client;
        let begin = async {
            // Rows and positions in one snapshot.
            let transaction = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .start()
                .await?;
            let chosen = select_ranges(&transaction, topic, limits).await?;
            if chosen.is_empty() {
                return Ok(None);
            }
            let file: String = transaction.query_one(NAME, &[]).await?.get(0);
            for (partition, ranges) in chosen {
                transaction
                    .execute(
                        BEGIN,
                        &[&topic, &partition, &ranges.to_string(), &file, &zone.name()],
                    )
                    .await?;
            }
            transaction.commit().await?;
            Ok(Some(PendingExport { file, zone }))
        };
        Ok(Database::with_timeout(&options, "choose rows to export", begin).await?)
    }

    /// The lines of the recorded export.
    pub(crate) async fn lines(&self, zone: Tz) -> Result<ExportLines, Error> {
        let client = &self.database.client;
        let read = async {
            let rows = client.query_raw(ROWS, [&self.topic]).await?;
            pin_mut!(rows);
            let mut lines = ExportLines::default();
            while let Some(row) = rows.try_next().await? {
                let (partition, offset): (i32, i64) = (row.get(0), row.get(1));
                let date_time: Option<NaiveDateTime> = row.get(2);
                let event_time: Option<DateTime<Utc>> = row.get(3);
                let Some((date_time, event_time)) = date_time.zip(event_time) else {
                    warn!(
                        topic = self.topic,
                        partition,
                        offset,
                        "a file cannot hold the time of this row; it is left out"
                    );
                    continue;
                };
                let day = event_time.with_timezone(&zone).date_naive();
                let of_day = lines.by_day.entry(day).or_default();
                line::push(of_day, partition, offset, date_time, row.get(4));
                lines.rows += 1;
                lines.newest = lines.newest.max(Some(event_time));
            }
            Ok(lines)
        };
        Ok(Database::with_timeout(self.database.options(), "read rows to export", read).await?)
    }

    /// Counts the recorded export as exported.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        let options = self.database.options().clone();
        let client = &mut self.database.client;
        let finish = async {
            let mut transaction = client.transaction().await?;
            transaction.execute(FINISH, &[&self.topic]).await?;
            transaction.execute(FORGET, &[&self.topic]).await?;
            update_ref_date(&mut transaction).await?;
            transaction.commit().await
        };
        Ok(Database::with_timeout(&options, "record an export", finish).await?)
    }

    /// Drops the recorded export, of which nothing is written yet.
    pub(crate) async fn discard(&self) -> Result<(), Error> {
        let client = &self.database.client;
        let discard = async { client.execute(FORGET, &[&self.topic]).await };
        let options = self.database.options();
        Database::with_timeout(options, "give up an export", discard).await?;
        Ok(())
    }
}

/// Writes the time of the export to `ref_date`. A failure is only logged, since that table may have
/// been altered.
async fn update_ref_date(transaction: &mut Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let attempt = transaction.savepoint("ref_date").await?;
    let write = async {
        if attempt.execute(REF_DATE, &[]).await? == 0 {
            attempt.execute(FIRST_REF_DATE, &[]).await?;
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    match write.await {
        Ok(()) => attempt.commit().await,
        Err(error) if error.as_db_error().is_some() => {
            warn!(
                error = error_chain(&error),
                "rows were exported, but table ref_date could not be updated"
            );
            attempt.rollback().await
        }
        Err(error) => Err(error),
    }
}

/// The offsets to export next, by topic partition.
async fn select_ranges(
    transaction: &Transaction<'_>,
    topic: &str,
    limits: ExportLimits,
) -> Result<Vec<(i32, Ranges)>, tokio_postgres::Error> {
    let mut left = limits;
    let mut chosen = Vec::new();
    for row in transaction.query(PARTITIONS, &[&topic]).await? {
        let partition: i32 = row.get(0);
        let exported: &str = row.get(1);
        let (from, consumed): (i64, i64) = (row.get(2), row.get(3));
        let mut ranges = Ranges::new(from, consumed);
        let rows = transaction
            .bind(OPEN_ROWS, &[&topic, &partition, &from, &exported])
            .await?;
        loop {
            let page = transaction.query_portal(&rows, PAGE).await?;
            for row in &page {
                if left.rows_max == 0 || left.bytes_max == 0 {
                    chosen.push((partition, ranges));
                    return Ok(chosen);
                }
                ranges.push(row.get(0));
                let bytes = u64::try_from(row.get::<_, i64>(1)).unwrap_or_default();
                left.rows_max -= 1;
                left.bytes_max = left.bytes_max.saturating_sub(bytes);
            }
            if page.is_empty() {
                break;
            }
        }
        ranges.end();
        if !ranges.is_empty() {
            chosen.push((partition, ranges));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::PendingExport;

    #[test]
    fn export_of_an_unknown_time_zone_is_refused() {
        let recorded = |zone: &str| PendingExport::recorded("weather_1.json".to_owned(), zone);
        let paris = recorded("Europe/Paris").expect("a zone");
        assert_eq!(paris.zone, Tz::Europe__Paris);
        let refused = recorded("Mars/Phobos").expect_err("no zone").to_string();
        assert!(
            refused.contains("weather_1.json") && refused.contains("Mars/Phobos"),
            "{refused}"
        );
    }
}
