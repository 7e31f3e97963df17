//! Migration from the legacy exporter: rows that are in its files count as exported.
//!
//! The cursor of the legacy exporter was a time, and skipped rows. Its files show exactly which
//! rows were exported, so that no row is exported twice, and the skipped ones are exported now.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use chrono::NaiveDateTime;
use connections::postgres::Database;
use futures::pin_mut;
use ingest::message::{Decoder, envelope};
use ingest::source::read_export_lines;
use lake::Location;
use memchr::memchr_iter;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tracing::info;

use super::cursor::Cursor;
use crate::error::Error;

const HAS_EXPORTS: &str = "SELECT FROM isobar.export_topics WHERE topic = $1";

const STAGING: &str = "
CREATE TEMPORARY TABLE found (partition BIGINT, msg_offset BIGINT, date_time TIMESTAMP)";

const COPY: &str = "COPY found (partition, msg_offset, date_time) FROM STDIN BINARY";

/// A row matches a line only if both have the same second: the files may be older than the topic.
/// After a return to the legacy exporter and back there are exports of both, which are merged.
const TAKE_OVER: &str = "
INSERT INTO isobar.exported (topic, partition, offsets)
SELECT $1, partition, range_agg(int8range(msg_offset, msg_offset, '[]'))
FROM weather
WHERE topic = $1 AND msg_offset < 9223372036854775807 AND EXISTS (
    SELECT FROM found
    WHERE found.partition = weather.partition AND found.msg_offset = weather.msg_offset
        AND found.date_time = date_trunc('second', weather.date_time)
)
GROUP BY partition
ON CONFLICT (topic, partition) DO UPDATE SET offsets = exported.offsets + excluded.offsets";

const DONE: &str = "INSERT INTO isobar.export_topics (topic, earlier_files) VALUES ($1, $2)";

/// Identity and local time of a line.
type ExportedLine = (i64, i64, NaiveDateTime);

impl Cursor {
    /// Counts the rows in the files at `place` as exported, unless a start before has done so.
    pub(crate) async fn migrate_legacy_files(&mut self, place: &Location) -> Result<(), Error> {
        let options = self.database.options().clone();
        let client = &self.database.client;
        let known = async { client.query_opt(HAS_EXPORTS, &[&self.topic]).await };
        let known = Database::with_timeout(&options, "look for earlier exports", known).await?;
        if known.is_some() {
            return Ok(());
        }
        let staging = self.database.client.batch_execute(STAGING);
        Database::with_timeout(&options, "prepare to take over exports", staging).await?;
        let files = match place.exists().await? {
            true => {
                let stage = async |lines: Bytes| self.copy(&exported_lines(&lines)).await;
                read_export_lines(place, stage).await?
            }
            false => 0,
        };
        let count = i64::try_from(files).unwrap_or(i64::MAX);
        let client = &mut self.database.client;
        let take_over = async {
            let transaction = client.transaction().await?;
            let partitions = transaction.execute(TAKE_OVER, &[&self.topic]).await?;
            transaction.execute(DONE, &[&self.topic, &count]).await?;
            transaction.batch_execute("DROP TABLE found").await?;
            transaction.commit().await?;
            Ok(partitions)
        };
        let partitions =
            Database::with_timeout(&options, "take over earlier exports", take_over).await?;
        if count > 0 {
            info!(files = count, partitions, %place, "rows in the present files count as exported");
        }
        Ok(())
    }

    /// Copies the identities of lines into the staging table.
    async fn copy(&self, found: &[ExportedLine]) -> Result<(), Error> {
        let copy = async {
            let sink = self.database.client.copy_in(COPY).await?;
            let types = [Type::INT8, Type::INT8, Type::TIMESTAMP];
            let writer = BinaryCopyInWriter::new(sink, &types);
            pin_mut!(writer);
            for (partition, offset, date_time) in found {
                writer
                    .as_mut()
                    .write(&[partition, offset, date_time])
                    .await?;
            }
            writer.finish().await
        };
        let options = self.database.options();
        Database::with_timeout(options, "stage earlier exports", copy).await?;
        Ok(())
    }
}

/// Identity and local time of the well-formed lines.
fn exported_lines(lines: &[u8]) -> Vec<ExportedLine> {
    let mut decoder = Decoder::new(&envelope::identity());
    let mut from = 0;
    for end in memchr_iter(b'\n', lines).chain([lines.len()]) {
        // A refused line leaves nothing in the decoder.
        let _ = decoder.push(&lines[from..end]);
        from = (end + 1).min(lines.len());
    }
    let rows = decoder.finish();
    let column = |name| {
        rows.column_by_name(name)
            .expect("the shape of an envelope has this field")
    };
    let partitions = column(envelope::KAFKA_PARTITION).as_primitive::<Int64Type>();
    let offsets = column(envelope::KAFKA_OFFSET).as_primitive::<Int64Type>();
    let times = column(envelope::EVENT_TIME).as_string::<i32>();
    let found = (0..rows.len()).filter_map(|row| {
        let time = NaiveDateTime::parse_from_str(times.value(row), "%Y-%m-%d %H:%M:%S");
        Some((partitions.value(row), offsets.value(row), time.ok()?))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::exported_lines;

    #[test]
    fn lines_yield_identity_and_local_time() {
        let line = |offset: i64, time: &str| {
            format!(
                "{{\"kafka_partition\": 1, \"kafka_offset\": {offset}, \"event_time\": \"{time}\", \"value\": {{\"a\": 1}}}}\n"
            )
        };
        let good = line(7, "2026-01-15 10:00:00");
        let other_values: String = ["null", "[1, 2]", "\"text\"", "17"]
            .map(|value| line(20, "2026-01-15 10:00:00").replace("{\"a\": 1}", value))
            .concat();
        let text = format!(
            "{good}{}broken\n\n{}",
            line(8, "soon"),
            line(9, "2026-01-15 10:00:01")
        );
        let offsets = |text: &str| -> Vec<i64> {
            exported_lines(text.as_bytes())
                .iter()
                .map(|line| line.1)
                .collect()
        };
        assert_eq!(offsets(&text), [7, 9]);
        assert_eq!(offsets(good.trim_end()), [7], "without the last line feed");
        assert_eq!(
            offsets(&other_values),
            [20; 4],
            "values that are no objects"
        );
        assert_eq!(offsets(""), [0_i64; 0]);
    }
}
