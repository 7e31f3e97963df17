//! Plans a statement by the engine's session, and binds the values of its parameters.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use engine::session::{self, Session};
use engine::sql;

use crate::error::Error;
use crate::statements::client_types::ClientTypes;
use crate::statements::parameters;

/// Names the text in the position of an error.
const ORIGIN: &str = "statement";

/// A planned statement.
#[derive(Debug)]
pub(crate) struct PlannedStatement {
    pub(crate) frame: DataFrame,
    /// The columns as the client gets them.
    pub(crate) client_types: ClientTypes,
    /// The parameters without a value.
    pub(crate) parameters: Schema,
}

/// Plans `text` with `values` for its parameters. Without them it can be described, and not run.
pub(crate) async fn plan(
    session: &Session,
    text: &str,
    values: Option<&RecordBatch>,
) -> Result<PlannedStatement, Error> {
    let statement = sql::parse_one(text, ORIGIN)?;
    let mut frame = Box::pin(session.query(&statement)).await?;
    let mut expected = parameters::schema(frame.logical_plan()).map_err(engine::Error::plan)?;
    if let Some(row) = values {
        let values = parameters::values(row, &expected)?;
        frame = frame
            .with_param_values(values)
            .map_err(engine::Error::plan)?;
        expected = Schema::empty();
    }
    let columns = columns(&frame, &expected).map_err(engine::Error::plan)?;
    Ok(PlannedStatement {
        client_types: ClientTypes::of(&columns),
        frame,
        parameters: expected,
    })
}

/// The columns of `frame`. Where a type depends on an unbound value, it is the one that the text
/// implies.
fn columns(frame: &DataFrame, unbound: &Schema) -> Result<SchemaRef, DataFusionError> {
    match session::columns_of(frame) {
        Err(_) if !unbound.fields().is_empty() => Ok(Arc::clone(frame.schema().inner())),
        columns => columns,
    }
}
