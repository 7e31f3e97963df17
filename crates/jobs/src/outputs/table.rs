//! Rows as a Delta table of the lake.

use lake::TableName;
use serde::Deserialize;

/// A Delta table in the lake.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableOutput {
    /// Name of the table.
    pub name: String,
}

impl TableOutput {
    /// The name of the table.
    ///
    /// # Errors
    /// When it cannot be one; a [`QueryFile`](crate::QueryFile) that was read has been checked.
    pub fn table_name(&self) -> Result<TableName, lake::Error> {
        Ok(self.name.parse()?)
    }
}
