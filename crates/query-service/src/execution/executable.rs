//! Plans a statement down to what runs. It runs nothing.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use engine::runtime::WatchedStatement;
use engine::session::{self, Session};

use crate::error::Error;
use crate::execution::admission::StatementPermit;
use crate::statements::client_types::ClientTypes;
use crate::statements::description::fingerprint;
use crate::statements::parameters;
use crate::statements::plan_cache::PlanCache;
use crate::statements::statement::Statement;

/// A statement that is ready to run.
#[derive(Debug)]
pub(crate) struct ExecutablePlan {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) context: Arc<TaskContext>,
    /// The columns as the client gets them.
    pub(crate) client_types: ClientTypes,
    /// Counts the memory of the statement.
    pub(crate) memory: WatchedStatement,
}

/// Plans `statement`, down to the physical plan. Planning holds `permit` until it ends, even after
/// the client was answered because of the time limit or a cancellation.
pub(crate) async fn prepare(
    session: Session,
    plans: Arc<PlanCache>,
    statement: Statement,
    permit: StatementPermit,
) -> Result<ExecutablePlan, Error> {
    let _permit = permit;
    let planned = plans.plan(&session, &statement).await?;
    parameters::require_bound(&planned.parameters)?;
    let columns = fingerprint(planned.client_types.schema());
    if statement
        .fingerprint
        .is_some_and(|described| described != columns)
    {
        return Err(Error::ColumnsChanged);
    }
    let executable = Box::pin(session::executable(planned.frame)).await;
    let (plan, context) = executable?;
    Ok(ExecutablePlan {
        plan,
        context,
        client_types: planned.client_types,
        memory: session.runtime().watch_statement(),
    })
}
