//! Adapts predicates and projections to the types of one data file, which may differ from the
//! table's.
//!
//! DataFusion casts the column, then moves the cast over to the literal that it is compared with,
//! also where the file has a coarser unit of time: `moment = 10:00:00.123456` over milliseconds
//! becomes `moment = 10:00:00.123`, and finds rows that are not equal. Casts between units of time
//! are made opaque, so that they stay where they are.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CastExpr;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};

use crate::rules::Opaque;

/// Creates [`Adapter`]s.
#[derive(Debug)]
pub(super) struct Adapters;

impl PhysicalExprAdapterFactory for Adapters {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let inner = DefaultPhysicalExprAdapterFactory.create(table, Arc::clone(&file))?;
        Ok(Arc::new(Adapter { inner, file }))
    }
}

#[derive(Debug)]
struct Adapter {
    inner: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let adapted = self.inner.rewrite(expr)?;
        adapted
            .transform_up(|expr| {
                Ok(if changes_unit(&expr, &self.file) {
                    Transformed::yes(Opaque::wrap(expr))
                } else {
                    Transformed::no(expr)
                })
            })
            .data()
    }
}

/// Whether `expr` casts an instant from one unit of time to another.
fn changes_unit(expr: &Arc<dyn PhysicalExpr>, file: &Schema) -> bool {
    let Some(cast) = expr.downcast_ref::<CastExpr>() else {
        return false;
    };
    match (cast.expr().data_type(file), cast.cast_type()) {
        (Ok(DataType::Timestamp(from, _)), DataType::Timestamp(to, _)) => from != *to,
        _ => false,
    }
}
