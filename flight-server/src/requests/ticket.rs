//! The ticket of a statement, by which a client fetches the rows. It has everything that the server
//! needs, so that the server keeps nothing between the two requests.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use arrow::datatypes::Schema;
use arrow_flight::sql::{ProstMessageExt as _, TicketStatementQuery};
use bytes::Bytes;
use prost::Message;
use tonic::Status;
use uuid::Uuid;

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
    /// Values of its parameters, see [`crate::statements::parameters::encode_values`]; empty when
    /// none are bound.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) parameters: Bytes,
    /// Fingerprint of the columns that were described to the client.
    #[prost(fixed64, tag = "4")]
    pub(crate) fingerprint: u64,
    /// Time in milliseconds that earlier requests for this statement took, see
    /// [`crate::execution::budget`].
    #[prost(uint64, tag = "5")]
    pub(crate) spent_ms: u64,
}

impl StatementTicket {
    /// A ticket for rows of `schema`; earlier requests for the statement have taken `spent`.
    pub(crate) fn new(text: String, parameters: Bytes, schema: &Schema, spent: Duration) -> Self {
        Self {
            id: Bytes::copy_from_slice(Uuid::new_v4().as_bytes()),
            text,
            parameters,
            fingerprint: fingerprint(schema),
            spent_ms: u64::try_from(spent.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn spent(&self) -> Duration {
        Duration::from_millis(self.spent_ms)
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

    /// Whether `schema` has the columns that were described to the client.
    pub(crate) fn matches(&self, schema: &Schema) -> bool {
        self.fingerprint == fingerprint(schema)
    }
}

/// A number that is equal for equal names, types and nullability of columns.
fn fingerprint(schema: &Schema) -> u64 {
    let mut hasher = DefaultHasher::new();
    for field in schema.fields() {
        (field.name(), field.data_type(), field.is_nullable()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow_flight::sql::{Any, Command};

    use super::*;

    fn columns(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("a", data_type, true)])
    }

    #[test]
    fn ticket_survives_the_round_trip_through_flight() {
        let schema = columns(DataType::Int64);
        let spent = Duration::from_millis(1_500);
        let ticket = StatementTicket::new(
            "SELECT 1".to_owned(),
            Bytes::from_static(b"p"),
            &schema,
            spent,
        );
        let any = Any::decode(&*ticket.to_flight().ticket).expect("a message");
        let Ok(Command::TicketStatementQuery(query)) = Command::try_from(any) else {
            panic!("not a ticket of a statement");
        };
        let decoded = StatementTicket::from_flight(&query).expect("ours");
        assert_eq!(decoded, ticket);
        assert_eq!(decoded.spent(), spent);
        assert!(decoded.matches(&schema) && !decoded.matches(&columns(DataType::Int32)));
        let other = TicketStatementQuery {
            statement_handle: Bytes::from_static(b"\xff\xff"),
        };
        assert!(StatementTicket::from_flight(&other).is_err());
    }
}
