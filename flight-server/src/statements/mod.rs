//! Plans the statements of clients by the engine's session, which only reads, and binds the values
//! of their parameters.

pub(crate) mod client_types;
pub(crate) mod parameters;
pub(crate) mod plan_cache;
pub(crate) mod prepared;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use engine::Error;
use engine::session::{self, Session};
use engine::sql;
use tonic::Status;

use crate::statements::client_types::ClientTypes;
use crate::status;

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

/// Plans `text` with the values `bound` to its parameters. Without them it can be described, and
/// not run.
pub(crate) async fn plan(
    session: &Session,
    text: &str,
    bound: &Bytes,
) -> Result<PlannedStatement, Status> {
    let statement = sql::parse_one(text, ORIGIN).map_err(|error| status::of(&error))?;
    let frame = Box::pin(session.query(&statement)).await;
    let mut frame = frame.map_err(|error| status::of(&error))?;
    let planning_failed = |error| status::of(&Error::plan(error));
    let mut expected = parameters::schema(frame.logical_plan()).map_err(planning_failed)?;
    if let Some(row) = parameters::decode_values(bound)? {
        let values = parameters::values(&row, &expected)?;
        frame = frame.with_param_values(values).map_err(planning_failed)?;
        expected = Schema::empty();
    }
    let columns = columns(&frame, &expected).map_err(planning_failed)?;
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

impl PlannedStatement {
    /// Fails when a parameter has no value.
    pub(crate) fn require_bound(&self) -> Result<(), Status> {
        let names: Vec<_> = self
            .parameters
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Status::invalid_argument(format!(
            "no value was bound to parameter {}; prepare the statement and bind one row of values",
            names.join(", ")
        )))
    }
}
