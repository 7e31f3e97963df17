//! The SELECTs and rules of table files: the table of messages that they read, and their planning.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono_tz::Tz;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use engine::session::{plan_messages, rows_context};
use serde::Deserialize;

use crate::error::Error;
use crate::message::Shape;

/// Name of the relation that declarations select from.
pub(crate) const MESSAGES: &str = "messages";

/// A rule that refuses messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refuse {
    /// Reason in dead letters: a word in snake case.
    pub(crate) reason: String,
    /// A condition over the columns of `messages`.
    pub(crate) when: String,
}

/// The columns that a table's SELECT and its rules may use.
pub(crate) fn message_columns(shape: &Shape) -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("kafka_topic", DataType::Utf8, false),
        Field::new("kafka_partition", DataType::Int32, false),
        Field::new("kafka_offset", DataType::Int64, false),
        Field::new("kafka_timestamp", instant, false),
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Utf8, false),
        Field::new("message", shape.data_type(), false),
    ]))
}

/// The input table of the plans: one batch.
#[derive(Debug)]
pub(crate) struct BatchSlot {
    schema: SchemaRef,
    pub(crate) batch: Mutex<Option<RecordBatch>>,
}

impl PartitionStream for BatchSlot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self
            .batch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let batches = futures::stream::iter(batch.map(Ok));
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        ))
    }
}

/// A context with table `messages` of the given shape, and the slot that feeds it.
pub(crate) fn messages(
    shape: &Shape,
    zone: Tz,
) -> Result<(SessionContext, Arc<BatchSlot>), DataFusionError> {
    let schema = message_columns(shape);
    let slot = Arc::new(BatchSlot {
        schema: Arc::clone(&schema),
        batch: Mutex::default(),
    });
    let table =
        StreamingTable::try_new(schema, vec![Arc::clone(&slot) as Arc<dyn PartitionStream>])?;
    let context = rows_context(zone)?;
    context.register_table(MESSAGES, Arc::new(table))?;
    Ok((context, slot))
}

/// Plans the SELECT `text` of the file at `path`, and `rules`. Returns the columns of the SELECT.
///
/// # Errors
/// When either cannot be planned, or a rule is no condition.
pub(crate) async fn plan(
    text: &str,
    rules: &[Refuse],
    path: &Path,
    shape: &Shape,
    zone: Tz,
) -> Result<SchemaRef, Error> {
    let (context, _) = messages(shape, zone).map_err(engine::Error::plan)?;
    let failed = |source| Error::Select {
        path: path.to_owned(),
        source,
    };
    let plan = plan_messages(&context, text, &path.display().to_string()).await;
    let plan = plan.map_err(|error| match error {
        // Without a place in the text it would not even name the file.
        engine::Error::Plan(source) => failed(source),
        error => error.into(),
    })?;
    let physical = context.state().create_physical_plan(&plan).await;
    // Not the columns of `plan`: before type coercion a CASE has the type of its first branch.
    let columns = physical.map_err(failed)?.schema();
    for rule in rules {
        plan_rule(&context, rule, path).await?;
    }
    Ok(columns)
}

async fn plan_rule(context: &SessionContext, rule: &Refuse, path: &Path) -> Result<(), Error> {
    let alone = format!("SELECT ({}) FROM {MESSAGES}", rule.when);
    let planned = async {
        let alone = context.sql(&alone).await?;
        // DataFusion may find an unknown field only while it makes the physical plan.
        alone.clone().create_physical_plan().await?;
        Ok(alone.schema().field(0).data_type().clone())
    };
    let found = planned.await.map_err(|source| Error::Rule {
        path: path.to_owned(),
        reason: rule.reason.clone(),
        source,
    })?;
    if found != DataType::Boolean {
        let reason = &rule.reason;
        let message = format!(
            "rule \"{reason}\" is {found}; it must be a condition, which is true for the messages to refuse"
        );
        return Err(Error::Declaration {
            path: path.to_owned(),
            message,
        });
    }
    Ok(())
}
