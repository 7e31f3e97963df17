//! Dead letters: messages that a landing refused, kept in table `dead_letters` with the reason.
//!
//! This module has the table, lists it and finds single dead letters. `land::replay` validates them
//! again and lands them.

mod address;
mod table;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, PrimitiveArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, col, lit};
use engine::session::Session;

pub use self::address::Address;
pub(crate) use self::table::{NewDeadLetter, rows, schema, table_name};
use crate::error::Error;

/// Selects dead letters. A field that is not set selects all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name of the topic in Kafka.
    pub topic: Option<String>,
    /// Any of these reasons.
    pub reasons: Vec<String>,
    /// `files`, `kafka` or `postgres`.
    pub source: Option<String>,
    /// Received at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Received before this moment.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    fn condition(&self) -> Option<Expr> {
        let text = |column: &str, value: &Option<String>| {
            let value = value.as_ref();
            value.map(|value| col(column).eq(lit(value)))
        };
        let instant = |instant: DateTime<Utc>| {
            let micros = Some(instant.timestamp_micros());
            lit(ScalarValue::TimestampMicrosecond(
                micros,
                Some("UTC".into()),
            ))
        };
        let reasons = self.reasons.iter().map(lit).collect::<Vec<_>>();
        let received = || col("received_at");
        let conditions = [
            text("kafka_topic", &self.topic),
            text("source", &self.source),
            (!reasons.is_empty()).then(|| col("reason").in_list(reasons, false)),
            self.since.map(|since| received().gt_eq(instant(since))),
            self.until.map(|until| received().lt(instant(until))),
        ];
        conjunction(conditions.into_iter().flatten())
    }

    /// Selects rows of `batch`, which has the columns of the table.
    pub(crate) fn mask(
        &self,
        session: &Session,
        batch: &RecordBatch,
    ) -> Result<BooleanArray, Error> {
        let Some(condition) = self.condition() else {
            return Ok(vec![true; batch.num_rows()].into());
        };
        let evaluated = || {
            let names = DFSchema::try_from(batch.schema())?;
            let condition = session
                .context()
                .state()
                .create_physical_expr(condition, &names)?;
            condition.evaluate(batch)?.into_array(batch.num_rows())
        };
        let mask = evaluated().map_err(engine::Error::execute)?;
        Ok(mask.as_boolean().clone())
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// When a landing refused it, UTC microseconds.
    pub received_us: i64,
    /// `files`, `kafka` or `postgres`.
    pub source: String,
    /// Name of the topic in Kafka.
    pub topic: String,
    /// Topic partition and offset, if they could be read.
    pub identity: Option<(i32, i64)>,
    /// File and line; none for a message from Kafka or PostgreSQL.
    pub place: Option<(String, i64)>,
    /// Why it was refused: a word in snake case.
    pub reason: String,
    /// The same for people.
    pub detail: String,
    /// Bytes of the message, or of its line.
    pub value: Bytes,
}

impl DeadLetter {
    /// Its name for people, which [`find`] takes.
    pub fn address(&self) -> Address {
        match (self.identity, &self.place) {
            (Some((partition, offset)), _) => Address::Message {
                topic: self.topic.clone(),
                partition,
                offset,
            },
            (None, Some((path, line))) => Address::Line {
                path: path.clone(),
                line: *line,
            },
            // A landing writes at least one of the two.
            (None, None) => Address::Line {
                path: self.source.clone(),
                line: 0,
            },
        }
    }

    /// The rows of `batch`, which has the columns of the table.
    pub(crate) fn read(batch: &RecordBatch) -> Vec<Self> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            ArrayRef::clone(column.expect("every batch has all columns of the table"))
        };
        // A scan of the table yields string views, a single data file yields strings.
        let text = |name: &str| {
            let texts = cast(&column(name), &DataType::Utf8).expect("a view of a text is a text");
            texts.as_string::<i32>().clone()
        };
        let (sources, topics) = (text("source"), text("kafka_topic"));
        let (paths, reasons, details) = (text("path"), text("reason"), text("detail"));
        let (partitions, offsets) = (column("kafka_partition"), column("kafka_offset"));
        let (received, lines) = (column("received_at"), column("line"));
        let values = column("value").as_binary::<i32>().clone();
        let texts = |array: &arrow::array::StringArray, row| {
            let is_there = array.is_valid(row);
            is_there.then(|| array.value(row).to_owned())
        };
        let dead_letter = |row| Self {
            received_us: number::<TimestampMicrosecondType>(&received, row).unwrap_or_default(),
            source: texts(&sources, row).unwrap_or_default(),
            topic: texts(&topics, row).unwrap_or_default(),
            identity: number::<Int32Type>(&partitions, row).zip(number::<Int64Type>(&offsets, row)),
            place: texts(&paths, row).zip(number::<Int64Type>(&lines, row)),
            reason: texts(&reasons, row).unwrap_or_default(),
            detail: texts(&details, row).unwrap_or_default(),
            value: Bytes::copy_from_slice(values.value(row)),
        };
        (0..batch.num_rows()).map(dead_letter).collect()
    }
}

fn number<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> Option<T::Native> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.is_valid(row).then(|| array.value(row))
}

/// Columns of a list: the address, and all columns but the value. `||` yields null where the
/// identity is not known.
const LIST: &str = "SELECT coalesce(kafka_topic || '/' || kafka_partition || '/' || kafka_offset, path || ':' || line) AS letter, \
received_at, source, kafka_topic, kafka_partition, kafka_offset, path, line, reason, detail FROM dead_letters";

const WHOLE: &str = "SELECT * FROM dead_letters";

/// The newest dead letters, at most `limit`: an address that [`find`] takes, and all columns but
/// the value.
pub async fn list(
    session: &Session,
    filter: &Filter,
    limit: Option<usize>,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let dead_letters = query(session, LIST, filter.condition()).await?;
    let up = |column| col(column).sort(true, false);
    let order = vec![
        col("received_at").sort(false, false),
        up("kafka_topic"),
        up("kafka_partition"),
        up("kafka_offset"),
        up("path"),
        up("line"),
    ];
    let sorted = dead_letters.sort(order);
    let chosen = sorted.and_then(|sorted| sorted.limit(0, limit));
    collected(chosen.map_err(engine::Error::plan)?).await
}

/// The number of dead letters by topic and reason, largest first, with the first and the last time
/// of receipt.
pub async fn summary(
    session: &Session,
    filter: &Filter,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let dead_letters = query(session, WHOLE, filter.condition()).await?;
    let counted = dead_letters.aggregate(
        vec![col("kafka_topic"), col("reason")],
        vec![
            count(lit(1)).alias("letters"),
            min(col("received_at")).alias("first_received_at"),
            max(col("received_at")).alias("last_received_at"),
        ],
    );
    let order = vec![
        col("letters").sort(false, false),
        col("kafka_topic").sort(true, false),
        col("reason").sort(true, false),
    ];
    let sorted = counted.and_then(|counted| counted.sort(order));
    collected(sorted.map_err(engine::Error::plan)?).await
}

/// The dead letters at `address`: one, unless a landing refused the same line for several topics.
pub async fn find(session: &Session, address: &Address) -> Result<Vec<DeadLetter>, Error> {
    let dead_letters = query(session, WHOLE, Some(address.condition())).await?;
    let (_, rows) = collected(dead_letters).await?;
    Ok(rows.iter().flat_map(DeadLetter::read).collect())
}

/// The rows of `text` that meet `condition`; none when the table does not exist yet.
async fn query(session: &Session, text: &str, condition: Option<Expr>) -> Result<DataFrame, Error> {
    let statement = engine::sql::parse_one(text, "the dead letters")?;
    session.declare(table_name(), &schema());
    let rows = session.query(&statement).await?;
    let rows = match condition {
        Some(condition) => rows.filter(condition),
        None => Ok(rows),
    };
    Ok(rows.map_err(engine::Error::plan)?)
}

async fn collected(rows: DataFrame) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let schema = rows.schema().as_arrow().clone();
    let batches = rows.collect().await.map_err(engine::Error::execute)?;
    Ok((schema.into(), batches))
}
