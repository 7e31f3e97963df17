//! The plan of a statement: as the planner reads it, or with its names resolved where it would
//! misread them.

use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Parsed;

use super::{
    Failure, Tables, has_renamed, is_about_names, joins_by_name, orders_by_alias, resolve, tables,
};
use crate::error::Error;
use crate::sql::{Statement, plan_failed};

/// Plans `statement` over the tables of `context`.
pub(crate) async fn plan(
    context: &SessionContext,
    statement: &Statement,
) -> Result<LogicalPlan, Error> {
    let parsed = statement.prepared()?;
    if joins_by_name(&parsed) {
        let plan = plan_resolved(context, statement, &parsed).await?;
        return plan.ok_or(Error::JoinByName);
    }
    let planned = context.state().statement_to_plan(parsed.clone()).await;
    let is_misread = match &planned {
        Ok(plan) => has_renamed(plan).map_err(Error::plan)? || orders_by_alias(&parsed),
        Err(error) => is_about_names(error),
    };
    if is_misread && let Some(plan) = plan_resolved(context, statement, &parsed).await? {
        return Ok(plan);
    }
    planned.map_err(|source| plan_failed(statement, source))
}

/// The plan of `parsed` with its names resolved; `None` where they cannot be.
async fn plan_resolved(
    context: &SessionContext,
    statement: &Statement,
    parsed: &Parsed,
) -> Result<Option<LogicalPlan>, Error> {
    let mut known = Tables::new();
    for parts in tables(parsed) {
        let reference = match &parts[..] {
            [table] => TableReference::bare(table.clone()),
            [schema, table] => TableReference::partial(schema.clone(), table.clone()),
            [catalog, schema, table] => {
                TableReference::full(catalog.clone(), schema.clone(), table.clone())
            }
            _ => continue,
        };
        // What is not there may be a CTE; the planner says what is missing.
        if let Ok(table) = context.table_provider(reference).await {
            let schema = table.schema();
            let columns = schema.fields().iter().map(|field| field.name().clone());
            known.insert(parts, columns.collect());
        }
    }
    let resolved = match resolve(parsed.clone(), &known) {
        Ok(resolved) => resolved,
        Err(Failure::Unsupported) => return Ok(None),
        Err(Failure::Refused(message, span)) => return Err(statement.refused(message, span)),
    };
    let state = context.state();
    let plan = state.statement_to_plan(resolved.parsed.clone()).await;
    let plan = plan.map_err(|source| plan_failed(statement, source))?;
    let plan = resolved.restore(plan).map_err(Error::plan)?;
    Ok(Some(plan))
}
