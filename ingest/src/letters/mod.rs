//! Dead letters as they stand in their table: which there are, and what one of them holds. How they are judged again is
//! in `land::replay`.

mod address;

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
use crate::error::Error;
use crate::land::dead_letters;

/// Which letters are wanted; all that is not given leaves out none.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub topic: Option<String>,
    /// Any of these.
    pub reasons: Vec<String>,
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

    /// Which rows of `batch`, of the table's columns, are wanted.
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

/// A letter as it stands in the table.
#[derive(Clone, Debug)]
pub struct Letter {
    pub received_us: i64,
    pub source: String,
    pub topic: String,
    /// Topic partition and offset, if they could be read.
    pub identity: Option<(i32, i64)>,
    /// File and line; none for a message from Kafka.
    pub place: Option<(String, i64)>,
    pub reason: String,
    pub detail: String,
    pub value: Bytes,
}

impl Letter {
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
            // No landing writes such a letter.
            (None, None) => Address::Line {
                path: self.source.clone(),
                line: 0,
            },
        }
    }

    /// The letters in the rows of `batch`, of the table's columns.
    pub(crate) fn read(batch: &RecordBatch) -> Vec<Self> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            ArrayRef::clone(column.expect("every batch has all columns of the table"))
        };
        // A scan has views of texts, and who reads a file alone has texts.
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
        let letter = |row| Self {
            received_us: number::<TimestampMicrosecondType>(&received, row).unwrap_or_default(),
            source: texts(&sources, row).unwrap_or_default(),
            topic: texts(&topics, row).unwrap_or_default(),
            identity: number::<Int32Type>(&partitions, row).zip(number::<Int64Type>(&offsets, row)),
            place: texts(&paths, row).zip(number::<Int64Type>(&lines, row)),
            reason: texts(&reasons, row).unwrap_or_default(),
            detail: texts(&details, row).unwrap_or_default(),
            value: Bytes::copy_from_slice(values.value(row)),
        };
        (0..batch.num_rows()).map(letter).collect()
    }
}

fn number<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> Option<T::Native> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.is_valid(row).then(|| array.value(row))
}

/// What a list says of a letter, its address first. `||` yields null where the identity is not known.
const LIST: &str = "SELECT coalesce(kafka_topic || '/' || kafka_partition || '/' || kafka_offset, path || ':' || line) AS letter, \
received_at, source, kafka_topic, kafka_partition, kafka_offset, path, line, reason, detail FROM dead_letters";

const WHOLE: &str = "SELECT * FROM dead_letters";

/// The newest letters, at most `limit`: an address that [`find`] takes, and all columns but the value.
pub async fn list(
    session: &Session,
    filter: &Filter,
    limit: Option<usize>,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let letters = letters(session, LIST, filter.condition()).await?;
    let up = |column| col(column).sort(true, false);
    let order = vec![
        col("received_at").sort(false, false),
        up("kafka_topic"),
        up("kafka_partition"),
        up("kafka_offset"),
        up("path"),
        up("line"),
    ];
    let sorted = letters.sort(order);
    let chosen = sorted.and_then(|letters| letters.limit(0, limit));
    collected(chosen.map_err(engine::Error::plan)?).await
}

/// How many letters there are by topic and reason, most first, and when they were received.
pub async fn summary(
    session: &Session,
    filter: &Filter,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let letters = letters(session, WHOLE, filter.condition()).await?;
    let counted = letters.aggregate(
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

/// The letters at `address`: one, unless the same line was refused for several topics.
pub async fn find(session: &Session, address: &Address) -> Result<Vec<Letter>, Error> {
    let letters = letters(session, WHOLE, Some(address.condition())).await?;
    let (_, rows) = collected(letters).await?;
    Ok(rows.iter().flat_map(Letter::read).collect())
}

/// The rows of `text` for which `condition` is true; none when no letter was ever written.
async fn letters(
    session: &Session,
    text: &str,
    condition: Option<Expr>,
) -> Result<DataFrame, Error> {
    let statement = engine::sql::parse_one(text, "the dead letters")?;
    session.declare(dead_letters::table_name(), &dead_letters::schema());
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
