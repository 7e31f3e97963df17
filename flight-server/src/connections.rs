//! Limits the connections of clients.
//!
//! A connection acquires a permit with its first request, and holds it until it is closed. Where no
//! permit is free, the server refuses the request and keeps the connection open: the client gets
//! the reason, and may try again on the same connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;
use tonic::{Request, Status};

use crate::metrics::ConnectionCounters;

/// Connections without a permit that stay open, so that their requests are answered with the
/// reason. Any further one is closed at once.
const REFUSED_OPEN_MAX: usize = 64;

/// All connections of the server.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    permits: Arc<Semaphore>,
    open: Arc<Semaphore>,
    connections_max: usize,
    counters: ConnectionCounters,
}

/// The permit of one connection; empty until a request has acquired it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionPermit(Arc<OnceLock<OwnedSemaphorePermit>>);

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    permit: ConnectionPermit,
    counters: ConnectionCounters,
    _open: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(connections_max: usize, counters: ConnectionCounters) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS - REFUSED_OPEN_MAX);
        Self {
            permits: Arc::new(Semaphore::new(connections_max)),
            open: Arc::new(Semaphore::new(connections_max + REFUSED_OPEN_MAX)),
            connections_max,
            counters,
        }
    }

    /// Wraps an accepted connection. `None` means too many are open: the connection is closed.
    pub(crate) fn open(&self, stream: TcpStream) -> Option<Connection> {
        let Ok(open) = Arc::clone(&self.open).try_acquire_owned() else {
            self.counters.refused.inc();
            return None;
        };
        self.counters.open.inc();
        Some(Connection {
            stream,
            permit: ConnectionPermit::default(),
            counters: self.counters.clone(),
            _open: open,
        })
    }

    /// Passes a request whose connection has a permit, or acquires one now.
    pub(crate) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let permit = request.extensions().get::<ConnectionPermit>();
        if permit.is_some_and(|permit| permit.0.get().is_some()) {
            return Ok(request);
        }
        let Ok(acquired) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.counters.refused.inc();
            return Err(Status::resource_exhausted(format!(
                "{} connections are open already (serve.connections_max); try again when one is closed",
                self.connections_max
            )));
        };
        // Another request of the same connection may have set a permit meanwhile; then this one is
        // released.
        let _ = permit.map(|permit| permit.0.set(acquired));
        Ok(request)
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionPermit;

    fn connect_info(&self) -> ConnectionPermit {
        self.permit.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counters.open.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
