//! Transforms messages of a topic into rows of its tables, by the SQL of their declarations.
//!
//! All plans are made once, and run on each batch.

use std::sync::{Arc, PoisonError};

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch, make_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, collect};
use engine::session::plan_messages;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lake::TableName;

use crate::declaration::TopicDeclaration;
use crate::error::Error;
use crate::select::{BatchSlot, MESSAGES, messages};

/// The planned rules and SELECTs of one topic. It works on one batch at a time.
pub(crate) struct Transform {
    slot: Arc<BatchSlot>,
    context: Arc<TaskContext>,
    /// Plan that returns, for each message, the number of the first rule that refuses it, or null.
    rules: Option<Arc<dyn ExecutionPlan>>,
    reasons: Vec<String>,
    tables: Vec<(TableName, SchemaRef, Arc<dyn ExecutionPlan>)>,
}

/// The result of a batch of messages.
#[derive(Debug, Default)]
pub(crate) struct Transformed {
    /// Rows by table, in the order of the topic's tables.
    pub(crate) rows: Vec<Vec<RecordBatch>>,
    /// Indices of refused messages in the batch, with reason and detail.
    pub(crate) refused: Vec<(usize, String, String)>,
}

impl Transform {
    pub(crate) async fn new(topic: &TopicDeclaration) -> Result<Self, Error> {
        let (context, slot) = messages(&topic.shape, topic.zone).map_err(engine::Error::plan)?;
        let mut tables = Vec::new();
        for table in &topic.tables {
            let origin = table.path.display().to_string();
            let plan = plan_messages(&context, &table.text, &origin).await?;
            let plan = context
                .state()
                .create_physical_plan(&plan)
                .await
                .map_err(engine::Error::plan)?;
            tables.push((table.name.clone(), Arc::clone(&table.schema.columns), plan));
        }
        let rules: Vec<_> = topic
            .tables
            .iter()
            .flat_map(|table| &table.refusals)
            .collect();
        let mut cases = String::new();
        for (index, rule) in rules.iter().enumerate() {
            cases.push_str(&format!(" WHEN ({}) THEN CAST({index} AS INT)", rule.when));
        }
        let plan = if rules.is_empty() {
            None
        } else {
            let text = format!("SELECT CASE{cases} END AS refused FROM {MESSAGES}");
            let planned = async { context.sql(&text).await?.create_physical_plan().await };
            Some(planned.await.map_err(engine::Error::plan)?)
        };
        Ok(Self {
            slot,
            context: context.task_ctx(),
            rules: plan,
            reasons: rules.into_iter().map(|rule| rule.reason.clone()).collect(),
            tables,
        })
    }

    /// Transforms `batch`, which has the columns of `message_columns`, into rows.
    ///
    /// A message whose rows cannot be computed is refused alone: the batch is halved until that
    /// message is found, and the others become rows.
    pub(crate) async fn apply(&self, batch: &RecordBatch) -> Transformed {
        let mut transformed = Transformed {
            rows: vec![Vec::new(); self.tables.len()],
            refused: Vec::new(),
        };
        self.apply_part(batch, 0, &mut transformed).await;
        transformed
    }

    fn apply_part<'a>(
        &'a self,
        batch: &'a RecordBatch,
        first: usize,
        transformed: &'a mut Transformed,
    ) -> BoxFuture<'a, ()> {
        async move {
            if batch.num_rows() == 0 {
                return;
            }
            match self.try_apply(batch).await {
                Ok((rows, refused)) => {
                    for (all, rows) in transformed.rows.iter_mut().zip(rows) {
                        all.extend(rows);
                    }
                    let refused = refused.into_iter().map(|(index, rule)| {
                        let detail =
                            format!("rule \"{}\" of the table's declaration", self.reasons[rule]);
                        (first + index, self.reasons[rule].clone(), detail)
                    });
                    transformed.refused.extend(refused);
                }
                Err(error) if batch.num_rows() == 1 => {
                    let detail = error.strip_backtrace().to_string();
                    transformed
                        .refused
                        .push((first, "rows_not_computable".to_owned(), detail));
                }
                Err(_) => {
                    let half = batch.num_rows() / 2;
                    let (left, right) = (
                        batch.slice(0, half),
                        batch.slice(half, batch.num_rows() - half),
                    );
                    self.apply_part(&left, first, transformed).await;
                    self.apply_part(&right, first + half, transformed).await;
                }
            }
        }
        .boxed()
    }

    #[allow(
        clippy::type_complexity,
        reason = "rows by table, and index with rule; used once"
    )]
    async fn try_apply(
        &self,
        batch: &RecordBatch,
    ) -> Result<(Vec<Vec<RecordBatch>>, Vec<(usize, usize)>), DataFusionError> {
        let refused = self.refused(batch).await?;
        let plausible = if refused.is_empty() {
            batch.clone()
        } else {
            let mut keep = vec![true; batch.num_rows()];
            for (index, _) in &refused {
                keep[*index] = false;
            }
            filter_record_batch(batch, &BooleanArray::from(keep))?
        };
        let mut rows = Vec::with_capacity(self.tables.len());
        for (_, schema, plan) in &self.tables {
            let selected = self.run(plan, &plausible).await?;
            let selected = selected.iter().map(|batch| cast_to_schema(schema, batch));
            rows.push(selected.collect::<Result<Vec<_>, _>>()?);
        }
        Ok((rows, refused))
    }

    /// Messages that a rule refuses, with the number of the rule.
    async fn refused(&self, batch: &RecordBatch) -> Result<Vec<(usize, usize)>, DataFusionError> {
        let Some(plan) = &self.rules else {
            return Ok(Vec::new());
        };
        let mut refused = Vec::new();
        let mut first = 0;
        for batch in self.run(plan, batch).await? {
            let rules = batch.column(0).as_primitive::<Int32Type>();
            if rules.null_count() < rules.len() {
                let rules = rules.iter().enumerate();
                refused.extend(rules.filter_map(|(index, rule)| {
                    Some((first + index, usize::try_from(rule?).ok()?))
                }));
            }
            first += batch.num_rows();
        }
        Ok(refused)
    }

    async fn run(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        batch: &RecordBatch,
    ) -> Result<Vec<RecordBatch>, DataFusionError> {
        // Clears what a plan keeps of a run (metrics, the build side of a join).
        let plan = reset_plan_states(Arc::clone(plan))?;
        *self
            .slot
            .batch
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(batch.clone());
        let rows = collect(plan, Arc::clone(&self.context)).await;
        *self
            .slot
            .batch
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        rows
    }
}

/// Casts rows to the types of the table.
fn cast_to_schema(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast_column(column, field.data_type()))
        .collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn cast_column(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if let (DataType::Timestamp(_, None), DataType::Timestamp(unit, Some(zone))) =
        (column.data_type(), to)
        && **zone == *"UTC"
    {
        // In UTC a local time is the instant itself. Arrow would look up the zone for each row.
        let in_unit = cast(column, &DataType::Timestamp(*unit, None))?;
        let data = in_unit.to_data().into_builder().data_type(to.clone());
        return Ok(make_array(data.build()?));
    }
    cast(column, to)
}
