//! Opens a table for its writer, and creates it when it is absent.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::error::ArrowError;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::SaveMode;

use super::{Table, TableSchema};
use crate::commit::CommitActions;
use crate::error::Error;
use crate::name::TableName;
use crate::snapshot::{Snapshot, features, log_store};
use crate::store::Location;

impl Table {
    /// The table at `location`, created from `schema` when it is absent. Columns that it lacks are
    /// added.
    pub(crate) async fn open_or_create(
        name: TableName,
        location: Location,
        schema: &TableSchema,
    ) -> Result<Self, Error> {
        let snapshot = match Snapshot::open(&name, &location).await? {
            Some(snapshot) => snapshot,
            None => create(&name, &location, schema).await?,
        };
        let mut table = Self::at(snapshot, location);
        features::refuse_unwritable(
            table.name(),
            table.snapshot.opened(),
            &CommitActions::default(),
        )?;
        table.evolve(schema).await?;
        table.columns = Arc::clone(table.snapshot.schema());
        Ok(table)
    }
}

async fn create(
    name: &TableName,
    location: &Location,
    schema: &TableSchema,
) -> Result<Snapshot, Error> {
    let failed = |source: DeltaTableError| Error::CreateTable {
        table: name.clone(),
        location: location.to_string(),
        source,
    };
    let columns: StructType = schema
        .columns
        .as_ref()
        .try_into_kernel()
        .map_err(|source: ArrowError| failed(source.into()))?;
    let configuration = HashMap::from([(
        // All columns: queries prune by any of them.
        "delta.dataSkippingNumIndexedCols".to_owned(),
        Some("-1".to_owned()),
    )]);
    // No retry: after a concurrent creation the library would commit ours as the next version, and
    // give a table that other processes have open another identity.
    let once = CommitProperties::default().with_max_retries(0);
    let created = CreateBuilder::new()
        .with_log_store(log_store(location))
        .with_table_name(name.as_str())
        .with_comment(schema.description.as_str())
        .with_columns(columns.fields().cloned())
        .with_partition_columns(schema.partition.iter().map(String::as_str))
        .with_configuration(configuration)
        .with_save_mode(SaveMode::ErrorIfExists)
        .with_commit_properties(once)
        .await;
    // Another process may have created the table first, or a storage error may hide our own
    // creation.
    match (Snapshot::open(name, location).await?, created) {
        (Some(snapshot), _) => Ok(snapshot),
        (None, Err(source)) => Err(failed(source)),
        (None, Ok(_)) => Err(failed(DeltaTableError::NotATable(location.to_string()))),
    }
}
