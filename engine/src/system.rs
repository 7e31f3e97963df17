//! The schema `system`: what the lake knows of its own tables, as tables to be asked.
//!
//! A scan looks at the logs when it is planned, as that of any table does, and reads no data files.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt as _, TryStreamExt as _};
use lake::{Lake, Snapshot, SourceProgress};

use crate::error::Error;

/// The schema that these tables are in, beside that of the lake.
pub const SYSTEM: &str = "system";

/// How far each table has each topic partition.
const COMPLETENESS: &str = "completeness";

/// How many tables are looked at side by side.
const OPEN_CONCURRENCY: usize = 8;

/// Names and columns of the tables of [`SYSTEM`].
pub fn tables() -> impl Iterator<Item = (&'static str, SchemaRef)> {
    std::iter::once((COMPLETENESS, completeness()))
}

/// The tables of [`SYSTEM`] for DataFusion.
#[derive(Debug)]
pub(crate) struct SystemSchema {
    pub(crate) lake: Arc<Lake>,
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        tables().map(|(name, _)| name.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok((name == COMPLETENESS).then(|| {
            Arc::new(Completeness {
                lake: Arc::clone(&self.lake),
                columns: completeness(),
            }) as _
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == COMPLETENESS
    }
}

fn completeness() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("kafka_topic", DataType::Utf8, false),
        Field::new("kafka_partition", DataType::Int32, false),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("next_offset", DataType::Int64, false),
        Field::new("complete_until", instant.clone(), true),
        Field::new("last_commit", instant, true),
        Field::new("table_version", DataType::Int64, false),
        Field::new("table_rows", DataType::Int64, true),
    ]))
}

#[derive(Debug)]
struct Completeness {
    lake: Arc<Lake>,
    columns: SchemaRef,
}

#[async_trait]
impl TableProvider for Completeness {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let found = look(&self.lake).await;
        let found = found.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let rows = rows(&found, &self.columns)?;
        let columns = Arc::clone(&self.columns);
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            columns,
            projection.cloned(),
        )?)
    }
}

type LandedProgress = Vec<(SourceProgress, Arc<Snapshot>)>;

/// What every table of the lake has, in the order of topics.
async fn look(lake: &Lake) -> Result<LandedProgress, Error> {
    let tables = lake.readable().await?;
    let found = futures::stream::iter(tables)
        .map(look_at)
        .buffered(OPEN_CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    let mut found: LandedProgress = found.into_iter().flatten().collect();
    // Stable: tables keep their order within a topic partition.
    found.sort_by(|(one, _), (other, _)| {
        (&one.topic, one.partition).cmp(&(&other.topic, other.partition))
    });
    Ok(found)
}

async fn look_at(snapshot: Arc<Snapshot>) -> Result<LandedProgress, Error> {
    let progress = snapshot.source_progress().await?.into_iter();
    Ok(progress
        .map(|progress| (progress, Arc::clone(&snapshot)))
        .collect())
}

fn rows(found: &LandedProgress, columns: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let (mut topics, mut tables) = (StringBuilder::new(), StringBuilder::new());
    let mut sources = StringBuilder::new();
    let (mut partitions, mut next) = (Int32Builder::new(), Int64Builder::new());
    let instants = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let (mut until, mut committed) = (instants(), instants());
    let (mut versions, mut counts) = (Int64Builder::new(), Int64Builder::new());
    for (progress, table) in found {
        topics.append_value(&progress.topic);
        partitions.append_value(progress.partition);
        tables.append_value(table.name().as_str());
        sources.append_value(progress.source);
        next.append_value(progress.next_offset);
        until.append_option(progress.newest_event_us);
        committed.append_option(table.committed_ms().map(|ms| ms * 1000));
        versions.append_value(i64::try_from(table.version()).unwrap_or(i64::MAX));
        let (_, _, rows) = table.size();
        counts.append_option(rows.and_then(|rows| i64::try_from(rows).ok()));
    }
    let values: Vec<ArrayRef> = vec![
        Arc::new(topics.finish()),
        Arc::new(partitions.finish()),
        Arc::new(tables.finish()),
        Arc::new(sources.finish()),
        Arc::new(next.finish()),
        Arc::new(until.finish()),
        Arc::new(committed.finish()),
        Arc::new(versions.finish()),
        Arc::new(counts.finish()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(columns), values)?)
}
