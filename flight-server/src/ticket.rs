//! The ticket that a client fetches a result with. It holds everything that the server needs, so the server keeps
//! nothing between the two requests.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use arrow::datatypes::Schema;
use arrow_flight::sql::{ProstMessageExt as _, TicketStatementQuery};
use bytes::Bytes;
use prost::Message;
use tonic::Status;
use uuid::Uuid;

/// A statement to run. It is neither signed nor encrypted: it holds nothing that a client could not send itself.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ticket {
    /// Names the run, so that it can be cancelled.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
    /// Values of its parameters, see [`crate::parameters::sealed`]; empty when none are bound.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) parameters: Bytes,
    /// Of the columns that were announced.
    #[prost(fixed64, tag = "4")]
    pub(crate) fingerprint: u64,
    /// Time that earlier requests for this statement took, see [`crate::budget`].
    #[prost(uint64, tag = "5")]
    pub(crate) spent_ms: u64,
}

impl Ticket {
    /// A ticket for rows of `schema`, after earlier requests have `spent` some time.
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

    /// The ticket as Flight sends it.
    pub(crate) fn sealed(&self) -> arrow_flight::Ticket {
        let statement_handle = self.encode_to_vec().into();
        let statement = TicketStatementQuery { statement_handle };
        arrow_flight::Ticket::new(statement.as_any().encode_to_vec())
    }

    /// Reads what a client sent back.
    pub(crate) fn open(sealed: &TicketStatementQuery) -> Result<Self, Status> {
        Self::decode(&*sealed.statement_handle)
            .map_err(|_| Status::invalid_argument("this is no ticket of ours"))
    }

    /// Whether rows of `schema` are what was announced.
    pub(crate) fn announced(&self, schema: &Schema) -> bool {
        self.fingerprint == fingerprint(schema)
    }
}

/// The same for the same names and types of columns.
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
    fn a_ticket_comes_back_as_it_left() {
        let schema = columns(DataType::Int64);
        let spent = Duration::from_millis(1_500);
        let ticket = Ticket::new(
            "SELECT 1".to_owned(),
            Bytes::from_static(b"p"),
            &schema,
            spent,
        );
        let any = Any::decode(&*ticket.sealed().ticket).expect("a message");
        let Ok(Command::TicketStatementQuery(sealed)) = Command::try_from(any) else {
            panic!("not a ticket of a statement");
        };
        let opened = Ticket::open(&sealed).expect("ours");
        assert_eq!(opened, ticket);
        assert_eq!(opened.spent(), spent);
        assert!(opened.announced(&schema) && !opened.announced(&columns(DataType::Int32)));
        let other = TicketStatementQuery {
            statement_handle: Bytes::from_static(b"\xff\xff"),
        };
        assert!(Ticket::open(&other).is_err());
    }
}
