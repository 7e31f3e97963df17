//! The ticket of a statement, by which a client fetches the rows. It has everything that the server
//! needs, so that the server keeps nothing between the two requests.

use std::time::Duration;

use arrow_flight::sql::{ProstMessageExt as _, TicketStatementQuery};
use bytes::Bytes;
use prost::Message;
use query_service::{Statement, StatementId};
use tonic::Status;

use crate::requests::parameters;
use crate::requests::service::PROTOCOL;

/// A described statement. It is neither signed nor encrypted: it has nothing that a client could
/// not send itself.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatementTicket {
    /// Identifies the statement for `CancelQuery` and `CancelFlightInfo`.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    /// The text, with numbered placeholders.
    #[prost(string, tag = "2")]
    pub(crate) text: String,
    /// Values of its parameters, see [`parameters::encode`]; empty when none are bound.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) parameters: Bytes,
    /// Fingerprint of the columns that were described to the client.
    #[prost(fixed64, tag = "4")]
    pub(crate) fingerprint: u64,
    /// Time in milliseconds that earlier requests for this statement took.
    #[prost(uint64, tag = "5")]
    pub(crate) spent_ms: u64,
}

impl StatementTicket {
    /// The ticket of a statement that was described.
    pub(crate) fn new(statement: Statement) -> Result<Self, Status> {
        Ok(Self {
            id: statement.id.as_bytes().clone(),
            text: statement.text,
            parameters: parameters::encode(statement.values.as_ref())?,
            fingerprint: statement.fingerprint.unwrap_or(0),
            spent_ms: u64::try_from(statement.spent.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The statement of the ticket.
    pub(crate) async fn into_statement(self) -> Result<Statement, Status> {
        Ok(Statement {
            id: StatementId::from_bytes(self.id),
            protocol: PROTOCOL,
            text: self.text,
            values: parameters::decode_encoded(self.parameters).await?,
            spent: Duration::from_millis(self.spent_ms),
            fingerprint: Some(self.fingerprint),
        })
    }

    /// The ticket as a message of Flight.
    pub(crate) fn to_flight(&self) -> arrow_flight::Ticket {
        let statement_handle = self.encode_to_vec().into();
        let statement = TicketStatementQuery { statement_handle };
        arrow_flight::Ticket::new(statement.as_any().encode_to_vec())
    }

    /// Decodes the ticket that a client sent back.
    pub(crate) fn from_flight(query: &TicketStatementQuery) -> Result<Self, Status> {
        Self::decode(&*query.statement_handle)
            .map_err(|_| Status::invalid_argument("this is no ticket of ours"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow_flight::sql::{Any, Command};

    use super::*;

    #[tokio::test]
    async fn ticket_survives_the_round_trip_through_flight() {
        let value: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let values = RecordBatch::try_from_iter([("1", value)]).expect("a row");
        let statement = Statement {
            values: Some(values),
            spent: Duration::from_millis(1_500),
            fingerprint: Some(42),
            ..Statement::new(PROTOCOL, "SELECT $1")
        };
        let ticket = StatementTicket::new(statement.clone()).expect("a ticket");
        let any = Any::decode(&*ticket.to_flight().ticket).expect("a message");
        let Ok(Command::TicketStatementQuery(query)) = Command::try_from(any) else {
            panic!("not a ticket of a statement");
        };
        let decoded = StatementTicket::from_flight(&query).expect("ours");
        assert_eq!(decoded, ticket);
        let decoded = decoded.into_statement().await.expect("ours");
        assert_eq!(decoded.id, statement.id);
        assert_eq!(decoded.text, statement.text);
        assert_eq!(decoded.values, statement.values);
        assert_eq!(decoded.spent, statement.spent);
        assert_eq!(decoded.fingerprint, statement.fingerprint);
        let other = TicketStatementQuery {
            statement_handle: Bytes::from_static(b"\xff\xff"),
        };
        assert!(StatementTicket::from_flight(&other).is_err());
    }
}
