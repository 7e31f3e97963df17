//! The kinds of errors of PostgreSQL, by their codes.

use std::path::PathBuf;

use tokio_rustls::rustls;

/// Whether the same attempt may succeed later: the connection broke, the server is starting,
/// stopping or short of a resource, or another session holds a lock.
pub(crate) fn is_transient(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        // Not a response of the server.
        return error.is_closed() || std::error::Error::source(error).is_some_and(is_io);
    };
    let class = code.code().get(..2).unwrap_or_default();
    // Connection, resources, operator intervention, rollback, lock not available, a stand-by that
    // is being promoted.
    matches!(class, "08" | "53" | "57" | "40") || matches!(code.code(), "55P03" | "25006")
}

fn is_io(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<std::io::Error>()
}

/// Whether the server refused a value and not the statement, so that other rows may succeed.
pub fn is_data_error(error: &tokio_postgres::Error) -> bool {
    let class = error.code().and_then(|code| code.code().get(..2));
    // Data exception, program limit exceeded (nesting, size of a field).
    matches!(class, Some("22" | "54"))
}

/// Root certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootCertificateError {
    #[error("{} cannot be read as certificates in PEM", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("there is none in {place}")]
    None { place: String },
    #[error("TLS has no version that both sides could speak")]
    Versions(#[source] rustls::Error),
}
