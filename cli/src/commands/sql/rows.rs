//! The rows of a statement, computed in a task of their own, so that a signal or a time limit can
//! end the wait for them at any moment.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::execute_stream;
use engine::Error;
use engine::session::{self, Session};
use engine::sql::Statement;
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

/// A statement that is planned and run. Dropping it aborts its task.
pub(super) struct Rows {
    schema: oneshot::Receiver<SchemaRef>,
    batches: mpsc::Receiver<RecordBatch>,
    work: AbortOnDropHandle<Result<(), Error>>,
}

impl Rows {
    pub(super) fn start(session: &Session, statement: &Statement) -> Self {
        let (schema_sender, schema) = oneshot::channel();
        let (sender, batches) = mpsc::channel(1);
        let (session, statement) = (session.clone(), statement.clone());
        let work = async move {
            let runtime = Arc::clone(session.runtime());
            let work = Box::pin(run(session, statement, schema_sender, sender));
            runtime.watched(work).await
        };
        Self {
            schema,
            batches,
            work: AbortOnDropHandle::new(tokio::spawn(work)),
        }
    }

    /// Waits for the plan, and returns its columns.
    pub(super) async fn schema(&mut self) -> anyhow::Result<SchemaRef> {
        match (&mut self.schema).await {
            Ok(schema) => Ok(schema),
            Err(_gone) => Err(self.failure().await),
        }
    }

    /// The next rows; `None` after the last ones.
    pub(super) async fn next(&mut self) -> Option<anyhow::Result<RecordBatch>> {
        if let Some(batch) = self.batches.recv().await {
            return Some(Ok(batch));
        }
        match (&mut self.work).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error.into())),
            Err(panic) => Some(Err(panic.into())),
        }
    }

    async fn failure(&mut self) -> anyhow::Error {
        match (&mut self.work).await {
            Ok(Ok(())) => anyhow::anyhow!("the statement ended without columns"),
            Ok(Err(error)) => error.into(),
            Err(panic) => panic.into(),
        }
    }
}

/// Sends the columns and the rows, and returns early when the receiver was dropped.
async fn run(
    session: Session,
    statement: Statement,
    schema_sender: oneshot::Sender<SchemaRef>,
    sender: mpsc::Sender<RecordBatch>,
) -> Result<(), Error> {
    let planned = session.query(&statement).await?;
    let (plan, context) = session::executable(planned).await?;
    let mut rows = execute_stream(plan, context).map_err(Error::execute)?;
    if schema_sender.send(rows.schema()).is_err() {
        return Ok(());
    }
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(Error::execute)?;
        allocations::discharge(batch.get_array_memory_size() as u64);
        if sender.send(batch).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
