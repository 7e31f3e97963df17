//! Questions about the lake and the service, which clients ask before they ask for rows: each command, its columns
//! and its rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::sql::Command;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use engine::lake::Lake;
use engine::session::Session;
use tonic::Status;

use crate::error::Error;
use crate::sql_info::{self, About};
use crate::{metadata, status, type_info};

/// What the answers are taken from.
pub(crate) struct Answers {
    lake: Arc<Lake>,
    sql_info: SqlInfoData,
    type_info: XdbcTypeInfoData,
}

impl Answers {
    pub(crate) fn new(lake: Arc<Lake>, session: &Session, about: About) -> Result<Self, Error> {
        Ok(Self {
            lake,
            sql_info: sql_info::build(session, about).map_err(Error::Describe)?,
            type_info: type_info::build().map_err(Error::Describe)?,
        })
    }

    /// The columns of the answer to `command`.
    pub(crate) fn schema(&self, command: &Command) -> Result<SchemaRef, Status> {
        match command {
            // Their columns do not depend on what the lake holds.
            Command::CommandGetTables(asked) => Ok(metadata::tables_schema(asked)),
            other => Ok(self.at_hand(other.clone())?.schema()),
        }
    }

    /// The answer to `command`.
    pub(crate) async fn rows(&self, command: Command) -> Result<RecordBatch, Status> {
        match command {
            Command::CommandGetTables(asked) => metadata::tables(&self.lake, asked).await,
            other => self.at_hand(other),
        }
    }

    /// Answers that need no storage.
    fn at_hand(&self, command: Command) -> Result<RecordBatch, Status> {
        let rows: Result<RecordBatch, FlightError> = match command {
            Command::CommandGetCatalogs(_) => metadata::catalogs(),
            Command::CommandGetDbSchemas(asked) => metadata::schemas(asked),
            Command::CommandGetTableTypes(_) => metadata::table_types(),
            Command::CommandGetPrimaryKeys(_) => Ok(metadata::primary_keys()),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => Ok(metadata::foreign_keys()),
            Command::CommandGetSqlInfo(asked) => asked.into_builder(&self.sql_info).build(),
            Command::CommandGetXdbcTypeInfo(asked) => self.type_info.record_batch(asked.data_type),
            other => return Err(status::unsupported(&other)),
        };
        rows.map_err(|error| status::internal(&error))
    }
}
