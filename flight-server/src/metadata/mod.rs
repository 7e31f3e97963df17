//! The metadata commands of Flight SQL: the columns and the rows of each answer.

mod catalog;
pub(crate) mod sql_info;
pub(crate) mod type_info;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::sql::Command;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use engine::session::Session;
use lake::Lake;
use tonic::Status;

use self::sql_info::ServerInfo;
use crate::error::Error;
use crate::status;

/// Executes metadata commands. The lists of properties and types are built once.
pub(crate) struct MetadataService {
    lake: Arc<Lake>,
    sql_info: SqlInfoData,
    type_info: XdbcTypeInfoData,
}

impl MetadataService {
    pub(crate) fn new(
        lake: Arc<Lake>,
        session: &Session,
        server_info: ServerInfo,
    ) -> Result<Self, Error> {
        Ok(Self {
            lake,
            sql_info: sql_info::build(session, server_info).map_err(Error::Describe)?,
            type_info: type_info::build().map_err(Error::Describe)?,
        })
    }

    /// The columns of the answer to `command`.
    pub(crate) fn schema(&self, command: &Command) -> Result<SchemaRef, Status> {
        match command {
            // Its columns do not depend on the lake, so that no storage is read.
            Command::CommandGetTables(request) => Ok(catalog::tables_schema(request)),
            other => Ok(self.rows_without_storage(other.clone())?.schema()),
        }
    }

    /// The answer to `command`.
    pub(crate) async fn rows(&self, command: Command) -> Result<RecordBatch, Status> {
        match command {
            Command::CommandGetTables(request) => catalog::tables(&self.lake, request).await,
            other => self.rows_without_storage(other),
        }
    }

    fn rows_without_storage(&self, command: Command) -> Result<RecordBatch, Status> {
        let rows: Result<RecordBatch, FlightError> = match command {
            Command::CommandGetCatalogs(_) => catalog::catalogs(),
            Command::CommandGetDbSchemas(request) => catalog::schemas(request),
            Command::CommandGetTableTypes(_) => catalog::table_types(),
            Command::CommandGetPrimaryKeys(_) => Ok(catalog::primary_keys()),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => Ok(catalog::foreign_keys()),
            Command::CommandGetSqlInfo(request) => request.into_builder(&self.sql_info).build(),
            Command::CommandGetXdbcTypeInfo(request) => {
                self.type_info.record_batch(request.data_type)
            }
            other => return Err(status::unsupported(&other)),
        };
        rows.map_err(|error| status::internal(&error))
    }
}
