//! Schema evolution: adds the columns that a table lacks of its declaration, and refuses any other
//! difference.
//!
//! A commit of metadata alone adds a column. Data files do not change; readers get nulls where a
//! file lacks the column.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::{TryIntoArrow as _, TryIntoKernel as _};
use tracing::info;

use super::{Table, TableSchema};
use crate::commit::{AppTransaction, CommitActions, CommitOutcome};
use crate::error::Error;
use crate::snapshot::{Snapshot, readers_schema};

/// Application id of the token by which a commit of columns is found after a storage error.
const COLUMNS: &str = "isobar/columns";

/// How often a commit of columns is tried.
const TRIES: usize = 15;

impl Table {
    /// Adds the columns of `schema` that the table lacks.
    ///
    /// # Errors
    /// When the table differs from `schema` in any other way, or the storage fails.
    pub(crate) async fn evolve(&mut self, schema: &TableSchema) -> Result<(), Error> {
        for _ in 0..TRIES {
            let gained = gained(self.snapshot(), schema)?;
            if gained.is_empty() {
                return Ok(());
            }
            let columns = self.snapshot().columns();
            let names: Vec<_> = gained.iter().map(|field| field.name().clone()).collect();
            // New columns come last, so that readers that use column positions keep working.
            let all: Vec<_> = columns.fields().iter().cloned().chain(gained).collect();
            let actions = CommitActions {
                columns: Some(Arc::new(Schema::new(all))),
                transactions: vec![AppTransaction::unique(COLUMNS)],
                ..CommitActions::default()
            };
            if let CommitOutcome::Committed(version) = self.commit(&actions).await? {
                info!(table = %self.name(), version, columns = names.join(", "), "added columns");
            }
        }
        Err(Error::TooManyConflicts {
            table: self.name().clone(),
            tries: TRIES,
        })
    }
}

/// The columns of `schema` as read back from the log, which renames the items of lists.
fn as_logged(schema: &TableSchema) -> Result<SchemaRef, ArrowError> {
    let logged: StructType = schema.columns.as_ref().try_into_kernel()?;
    let columns: Schema = (&logged).try_into_arrow()?;
    Ok(readers_schema(&columns, &schema.partition))
}

/// Columns that only `schema` has.
///
/// # Errors
/// When the table, with these columns added, still differs from `schema`.
fn gained(snapshot: &Snapshot, schema: &TableSchema) -> Result<Vec<Arc<Field>>, Error> {
    let table = || snapshot.name().clone();
    let partition: Vec<_> = snapshot.partition_columns().collect();
    if partition != schema.partition {
        return Err(Error::PartitionDiffers {
            table: table(),
            present: partition.join(", "),
            declared: schema.partition.join(", "),
        });
    }
    let types = |schema: &Schema| -> BTreeMap<String, DataType> {
        let fields = schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    };
    let declared = as_logged(schema).map_err(|source| Error::Schema {
        table: table(),
        source,
    })?;
    let (present, declared) = (types(snapshot.schema()), types(&declared));
    for (column, data_type) in &present {
        match declared.get(column) {
            Some(found) if found == data_type => {}
            Some(found) => {
                return Err(Error::ColumnDiffers {
                    table: table(),
                    column: column.clone(),
                    present: data_type.to_string(),
                    declared: found.to_string(),
                });
            }
            None => {
                return Err(Error::ColumnLost {
                    table: table(),
                    column: column.clone(),
                    present: data_type.to_string(),
                });
            }
        }
    }
    let gained = schema.columns.fields().iter();
    Ok(gained
        .filter(|field| !present.contains_key(field.name()))
        .map(|field| Arc::new(Field::new(field.name(), field.data_type().clone(), true)))
        .collect())
}
