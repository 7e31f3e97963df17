//! Statements of clients: planned by the engine's session, which only reads, with values bound to parameters.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use engine::Error;
use engine::session::{self, Session};
use engine::sql;
use tonic::Status;

use crate::wire::Wire;
use crate::{parameters, status};

/// What stands for the text in the place of a complaint.
const ORIGIN: &str = "statement";

/// A planned statement.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) frame: DataFrame,
    /// Its columns as they leave.
    pub(crate) wire: Wire,
    /// Parameters that have no value yet.
    pub(crate) parameters: Schema,
}

/// Plans `text` with the values `bound` to its parameters; without any it can be described, and not be run.
pub(crate) async fn plan(session: &Session, text: &str, bound: &Bytes) -> Result<Planned, Status> {
    let statement = sql::parse_one(text, ORIGIN).map_err(|error| status::of(&error))?;
    let frame = Box::pin(session.query(&statement)).await;
    let mut frame = frame.map_err(|error| status::of(&error))?;
    let planning_failed = |error| status::of(&Error::plan(error));
    let mut expected = parameters::schema(frame.logical_plan()).map_err(planning_failed)?;
    if let Some(row) = parameters::open(bound)? {
        let values = parameters::values(&row, &expected)?;
        frame = frame.with_param_values(values).map_err(planning_failed)?;
        expected = Schema::empty();
    }
    let columns = columns(&frame, &expected).map_err(planning_failed)?;
    Ok(Planned {
        wire: Wire::of(&columns),
        frame,
        parameters: expected,
    })
}

/// The columns of `frame`. Types that depend on values that are not bound yet are those that the text alone gives.
fn columns(frame: &DataFrame, unbound: &Schema) -> Result<SchemaRef, DataFusionError> {
    match session::columns_of(frame) {
        Err(_) if !unbound.fields().is_empty() => Ok(Arc::clone(frame.schema().inner())),
        columns => columns,
    }
}

impl Planned {
    /// That every parameter has a value.
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
