//! Constants that operators write out for each row of a batch.
//!
//! `SELECT unnest(range(0, 1000000)) FROM t` has one list of 8 MB, and DataFusion copies it for
//! each of the 8,192 rows of a batch: 64 GiB in one step that nothing can stop. With smaller
//! batches it copies as much, and holds little at a time.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::ExecutionPlan;

/// Bytes of the constants of one batch, about.
const BATCH_BYTES: usize = 64 << 20;

/// Constants of fewer bytes do not count: a statement may have hundreds.
const SHORT_BYTES: usize = 4 << 10;

/// The context to run `plan` in: as `context`, with batches of so few rows that the constants of
/// `plan` fit into them.
pub(crate) fn context_of(
    plan: &Arc<dyn ExecutionPlan>,
    context: TaskContext,
) -> Result<TaskContext> {
    let mut bytes = 0;
    plan.apply(|node| {
        bytes += bytes_of_node(node)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    let rows = BATCH_BYTES / bytes.max(1);
    let config = context.session_config();
    if rows >= config.batch_size() {
        return Ok(context);
    }
    let config = config.clone().with_batch_size(rows.max(1));
    Ok(context.with_session_config(config))
}

fn bytes_of_node(node: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let schema = match node.children()[..] {
        [] => node.schema(),
        [input, ..] => input.schema(),
    };
    let mut bytes = 0;
    node.apply_expressions(&mut |expression| {
        // A comparison reads a constant and does not copy it.
        let makes_long_values = match expression.data_type(&schema) {
            Ok(made) => !made.is_primitive() && made != DataType::Boolean,
            Err(_of_another_input) => true,
        };
        if makes_long_values {
            bytes += bytes_of_constants(expression)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}

fn bytes_of_constants(expression: &PhysicalExprRef) -> Result<usize> {
    let mut bytes = 0;
    expression.apply(|inner| {
        if let Some(literal) = inner.downcast_ref::<Literal>() {
            let size = literal.value().size();
            bytes += if size < SHORT_BYTES { 0 } else { size };
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    /// Rows of a batch in which `sql` runs.
    async fn batch_rows(sql: &str) -> usize {
        let frame = SessionContext::new().sql(sql).await.unwrap();
        let context = frame.task_ctx();
        let plan = frame.create_physical_plan().await.unwrap();
        let context = context_of(&plan, context).unwrap();
        context.session_config().batch_size()
    }

    #[tokio::test]
    async fn batches_get_smaller_as_constants_get_larger() {
        let rows = "FROM (VALUES (1), (2)) AS t (x)";
        assert_eq!(batch_rows(&format!("SELECT x, 'a' {rows}")).await, 8_192);
        let list = format!("SELECT x, range(0, 1000000) {rows}");
        assert!((1..=8).contains(&batch_rows(&list).await));
        let text = format!("SELECT x || repeat('a', 1000000) {rows}");
        assert!((1..=70).contains(&batch_rows(&text).await));
        let compared = format!("SELECT x, array_has(range(0, 1000000), x) {rows}");
        assert_eq!(batch_rows(&compared).await, 8_192);
    }
}
